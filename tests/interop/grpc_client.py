"""A proxyless gRPC client that asks as often as its standard input says and prints who answered.

Messages are plain bytes, so no message compiler is needed. GRPC_XDS_BOOTSTRAP names the control plane.
"""

import collections
import json
import sys

import grpc

TIMEOUT_SECONDS = 10


def identity(message):
    return message


channel = grpc.insecure_channel(sys.argv[1])
ask = channel.unary_unary(
    "/tidegate.interop.Reviews/Ask", request_serializer=identity, response_deserializer=identity
)
for line in sys.stdin:
    versions = collections.Counter()
    failures = []
    for _ in range(int(line)):
        try:
            versions[ask(b"", timeout=TIMEOUT_SECONDS).decode()] += 1
        except grpc.RpcError as error:
            failures.append(f"{error.code()}: {error.details()}")
    print(json.dumps({"versions": versions, "failures": failures[:20]}), flush=True)
