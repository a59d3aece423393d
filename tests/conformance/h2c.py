"""HTTP/2 with prior knowledge: an echo server that a connection of the replayer's can be handed to, and a client."""
import json
import socket
import socketserver

import h2.config
import h2.connection
import h2.events

READ_BYTES = 65536
TIMEOUT_SECONDS = 12


def words(headers):
    return [(name.decode(), value.decode()) for name, value in headers]


class Echo(socketserver.BaseRequestHandler):
    """Answers every request with what it saw, in the replayer's words."""

    def handle(self):
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        self.request.sendall(connection.data_to_send())
        while data := self.request.recv(READ_BYTES):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.answer(connection, event)
            self.request.sendall(connection.data_to_send())

    def answer(self, connection, event):
        seen = words(event.headers)
        pseudo = dict(pair for pair in seen if pair[0].startswith(':'))
        headers = {}
        for name, value in seen:
            if not name.startswith(':'):
                headers.setdefault(name, []).append(value)
        body = json.dumps({
            'path': pseudo[':path'], 'host': pseudo.get(':authority', ''), 'method': pseudo[':method'], 'proto': 'HTTP/2.0',
            'headers': headers, 'namespace': self.server.ns, 'pod': self.server.pod,
        }).encode()
        connection.send_headers(event.stream_id, [(':status', '200'), ('content-type', 'application/json')])
        connection.send_data(event.stream_id, body, end_stream=True)


def request(address, port, expected, mesh=False):
    """As the replayer's request, over HTTP/2: status, headers, and what the echo server saw."""
    asked = expected['Request']
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    connection.initiate_connection()
    head = [(':method', asked.get('Method') or 'GET'), (':scheme', 'http'), (':path', asked.get('Path') or '/')]
    head += [(':authority', asked.get('Host') or address)]
    head += [(name.lower(), value) for name, value in (asked.get('Headers') or {}).items()]
    connection.send_headers(1, head, end_stream=True)
    answer, body, ended = [], b'', False
    with socket.create_connection((address, port), timeout=TIMEOUT_SECONDS) as stream:
        stream.sendall(connection.data_to_send())
        while not ended:
            data = stream.recv(READ_BYTES)
            if not data:
                raise ConnectionError('the connection ended before the answer did')
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    answer = words(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                    ended = True
            stream.sendall(connection.data_to_send())
    headers = {}
    for name, value in answer:
        headers.setdefault(name, []).append(value)
    status = int(headers.pop(':status')[0])
    seen = json.loads(body) if status == 200 else {}
    # That both ends spoke HTTP/2 is what the case is about, and no field that is compared would tell.
    if status == 200 and seen['proto'] != 'HTTP/2.0':
        raise ValueError(f'the backend was asked by {seen["proto"]}')
    return status, headers, seen
