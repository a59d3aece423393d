"""Collectors of somebody else: OTLP over gRPC and over HTTP, and SkyWalking's segments. Each span is printed as a line of JSON.

The messages are taken apart by the packages that their authors publish, so that nothing here agrees with our own code about
them by accident.
"""

import concurrent.futures
import http.server
import json
import sys
import threading

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as otlp_grpc
from opentelemetry.proto.trace.v1 import trace_pb2
from skywalking.protocol.common import Command_pb2
from skywalking.protocol.language_agent import Tracing_pb2_grpc as skywalking

ONE_LINE_AT_A_TIME = threading.Lock()
BODY_BYTES_MAX = 4 * 1024 * 1024


def tell(line):
    with ONE_LINE_AT_A_TIME:
        print(json.dumps(line), flush=True)


def attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def tell_otlp(collector, request):
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                tell({
                    "collector": collector,
                    "resource": attributes(resource.resource.attributes),
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "name": span.name,
                    "kind": trace_pb2.Span.SpanKind.Name(span.kind),
                    "start_ns": span.start_time_unix_nano,
                    "end_ns": span.end_time_unix_nano,
                    "status": trace_pb2.Status.StatusCode.Name(span.status.code),
                    "attributes": attributes(span.attributes),
                })


class Otlp(otlp_grpc.TraceServiceServicer):
    def Export(self, request, context):
        tell_otlp("otlp", request)
        return otlp.ExportTraceServiceResponse()


class SkyWalking(skywalking.TraceSegmentReportServiceServicer):
    def collect(self, request_iterator, context):
        for segment in request_iterator:
            tell({"collector": "skywalking", **MessageToDict(segment, always_print_fields_with_no_presence=True)})
        return Command_pb2.Commands()


class OtlpHttp(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = int(self.headers["content-length"])
        sound = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
        if not sound or length > BODY_BYTES_MAX:
            self.send_error(400)
            return
        tell_otlp("otlp-http", otlp.ExportTraceServiceRequest.FromString(self.rfile.read(length)))
        answer = otlp.ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format, *arguments):
        pass


def main():
    host = sys.argv[1]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=16))
    otlp_grpc.add_TraceServiceServicer_to_server(Otlp(), server)
    skywalking.add_TraceSegmentReportServiceServicer_to_server(SkyWalking(), server)
    for port in (4317, 11800):
        server.add_insecure_port(f"{host}:{port}")
    server.start()
    over_http = http.server.ThreadingHTTPServer((host, 4318), OtlpHttp)
    print("collecting", flush=True)
    over_http.serve_forever()


main()
