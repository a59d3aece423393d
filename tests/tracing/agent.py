"""An agent of SkyWalking that makes one call: tells the collector at its argument of the call's span, and prints the field `sw8`
that goes with the call.

Agents call traces by texts that are no 128 bits, and number spans within a segment: a proxy and a collector must come to the same
ids by themselves.
"""

import base64
import sys
import time

import grpc
from skywalking.protocol.language_agent import Tracing_pb2 as messages
from skywalking.protocol.language_agent import Tracing_pb2_grpc as service

TRACE = "0f1e2d3c4b5a69788796a5b4c3d2e1f0.71.17000000000000001"
SEGMENT = "8796a5b4c3d2e1f00f1e2d3c4b5a6978.71.17000000000000002"
NUMBER = 3

now = int(time.time() * 1000)
span = messages.SpanObject(
    spanId=NUMBER,
    parentSpanId=-1,
    startTime=now,
    endTime=now + 1000,
    operationName="/front",
    peer="the mesh",
    spanType=messages.SpanType.Exit,
    spanLayer=messages.SpanLayer.Http,
)
segment = messages.SegmentObject(
    traceId=TRACE, traceSegmentId=SEGMENT, spans=[span], service="shopper", serviceInstance="shopper-1"
)
with grpc.insecure_channel(sys.argv[1]) as channel:
    service.TraceSegmentReportServiceStub(channel).collect(iter([segment]), timeout=30)

texts = [base64.b64encode(text.encode()).decode() for text in (TRACE, SEGMENT, "shopper", "shopper-1", "/", "the mesh")]
print("-".join(["1", *texts[:2], str(NUMBER), *texts[2:]]))
