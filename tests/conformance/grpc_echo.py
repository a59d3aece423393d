"""The suite's gRPC echo service by grpcio at both ends.

Messages are plain bytes that hold JSON, so no message compiler is needed: a proxy sees the same frames either way.
"""
import json
from concurrent import futures

import grpc

SERVICE = 'gateway_api_conformance.echo_basic.grpcecho.GrpcEcho'
WORKERS = 16
TIMEOUT_SECONDS = 10
STOP_SECONDS = 0


def identity(message):
    return message


class Echo(grpc.GenericRpcHandler):
    """Answers every unary method with what it saw."""

    def __init__(self, namespace, pod):
        self.identity = {'namespace': namespace, 'pod': pod}

    def service(self, details):
        headers = {}
        for name, value in details.invocation_metadata:
            headers.setdefault(name, []).append(value if isinstance(value, str) else value.hex())
        seen = json.dumps(self.identity | {'method': details.method, 'headers': headers}).encode()
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: seen, request_deserializer=identity, response_serializer=identity
        )


def serve(address, port, namespace, pod):
    """Starts a server; returns what stops it."""
    server = grpc.server(futures.ThreadPoolExecutor(WORKERS), handlers=[Echo(namespace, pod)], options=[('grpc.so_reuseport', 0)])
    server.add_insecure_port(f'{address}:{port}')
    server.start()
    return lambda: server.stop(STOP_SECONDS).wait()


def channel(address, port, authority=None):
    # Every channel has connections of its own: what one test opened must not serve the next.
    options = [('grpc.use_local_subchannel_pool', 1), ('grpc.enable_http_proxy', 0)]
    options += [('grpc.default_authority', authority)] if authority else []
    return grpc.insecure_channel(f'{address}:{port}', options=options)


def call(channel, method, metadata=()):
    """Calls a method of the echo service: what the server saw. Raises grpc.RpcError."""
    ask = channel.unary_unary(f'/{SERVICE}/{method}', request_serializer=identity, response_deserializer=identity)
    return json.loads(ask(b'', timeout=TIMEOUT_SECONDS, metadata=tuple(metadata)))
