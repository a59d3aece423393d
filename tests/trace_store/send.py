"""Sends one trace through OpenTelemetry's own SDK and exporters, and a SkyWalking segment through gRPC's own client.

Arguments: the gRPC target, the URL of the HTTP API, the segment in hexadecimal.
"""

import sys

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode

target, api, segment = sys.argv[1:]


def tracer(service, exporter):
    provider = TracerProvider(resource=Resource.create({"service.name": service, "rack": 7}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, provider.get_tracer("shop.tracer", "2.0")


# The caller speaks OTLP over gRPC, packed; the called side OTLP over HTTP, packed as well.
front, of_front = tracer("front", GrpcExporter(endpoint=target, insecure=True, compression=grpc.Compression.Gzip))
reviews, of_reviews = tracer(
    "reviews", HttpExporter(endpoint=f"{api}/v1/traces", compression=Compression.Gzip)
)
with of_front.start_as_current_span("GET /", kind=SpanKind.CLIENT) as caller:
    caller.set_attribute("sizes", [1, 2])
    context = trace.set_span_in_context(caller)
    with of_reviews.start_as_current_span("GET /reviews", context=context, kind=SpanKind.SERVER) as called:
        called.set_attribute("http.response.status_code", 503)
        called.add_event("retry", {"attempt": 2})
        called.set_status(Status(StatusCode.ERROR, "no endpoint"))
front.shutdown()
reviews.shutdown()

with grpc.insecure_channel(target) as channel:
    collect = channel.stream_unary(
        "/skywalking.v3.TraceSegmentReportService/collect",
        request_serializer=lambda message: message,
        response_deserializer=lambda message: message,
    )
    assert collect(iter([bytes.fromhex(segment)]), timeout=10) == b""

print(format(caller.get_span_context().trace_id, "032x"))
