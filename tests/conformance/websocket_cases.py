"""C-websocket: an upgraded connection carries text and bytes to a backend that speaks WebSocket."""
import socketserver

from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.sync.client import connect

from world import INFRA, eventually

CLASS = 'C-websocket'
READ_BYTES = 65536
TEXT, BYTES = 'Websocket Support!', bytes(range(1, 8))
TIMEOUT_SECONDS = 10


class Echo(socketserver.BaseRequestHandler):
    """Sends every message back, and says in the handshake who it is."""

    def handle(self):
        protocol = ServerProtocol()
        while data := self.request.recv(READ_BYTES):
            protocol.receive_data(data)
            for event in protocol.events_received():
                self.answer(protocol, event)
            for part in protocol.data_to_send():
                if part:
                    self.request.sendall(part)
            if protocol.close_expected():
                return

    def answer(self, protocol, event):
        if isinstance(event, Request):
            response = protocol.accept(event)
            response.headers['x-pod'] = self.server.pod
            protocol.send_response(response)
        elif isinstance(event, Frame) and protocol.state is State.OPEN:
            if event.opcode is Opcode.TEXT:
                protocol.send_text(event.data)
            elif event.opcode is Opcode.BINARY:
                protocol.send_binary(event.data)


def exchange(address):
    with connect(f'ws://{address}/ws', open_timeout=TIMEOUT_SECONDS, proxy=None) as socket:
        pod = socket.response.headers.get('x-pod', 'nobody')
        if not pod.startswith('infra-backend-v1'):
            return f'answered by {pod}'
        for message in (TEXT, BYTES):
            socket.send(message)
            reply = socket.recv(timeout=TIMEOUT_SECONDS)
            if reply != message:
                return f'sent {message!r}, received {reply!r}'
    return None


def cases(test, world):
    yield 'echo', eventually(lambda: exchange(world.gateway('same-namespace')))


PREPARE_ALL = lambda world: world.speak(f'{INFRA}/infra-backend-v1', 3000, Echo)  # noqa: E731
