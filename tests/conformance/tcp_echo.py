"""The suite's TCP echo server: says who it is once somebody has spoken, and what it heard."""
import json
import socket
import socketserver
import uuid

TIMEOUT_SECONDS = 10


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        heard = self.rfile.readline().decode().strip()
        answer = {'pod': self.server.pod, 'namespace': self.server.ns, 'heard': heard}
        self.wfile.write(json.dumps(answer).encode() + b'\n')


def ask(address, port):
    """What the server behind a port says; the connection must carry the bytes of both ways unchanged."""
    said = uuid.uuid4().hex
    with socket.create_connection((address, port), timeout=TIMEOUT_SECONDS) as stream:
        stream.sendall(said.encode() + b'\n')
        with stream.makefile('rb') as lines:
            line = lines.readline()
    if not line:
        raise ConnectionError('closed without an answer')
    answer = json.loads(line)
    if answer['heard'] != said:
        raise ValueError(f'said {said}, heard {answer["heard"]}')
    return answer
