"""A collector of traces: OTLP over gRPC or HTTP, read by OpenTelemetry's own message types."""

from __future__ import annotations

import concurrent.futures
import http.server
import threading
from dataclasses import dataclass, field

import grpc
import process
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as messages
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class Span:
    trace: str
    id: str
    parent: str
    name: str
    kind: int
    start: int
    end: int
    attributes: dict
    events: tuple[str, ...]
    failed: bool
    service: str


def value(one) -> object:
    kind = one.WhichOneof("value")
    if kind == "array_value":
        return [value(item) for item in one.array_value.values]
    return getattr(one, kind) if kind else None


@dataclass
class Collector:
    """`protocol`: "grpc" or "http". `port`: 0 for any."""

    protocol: str = "grpc"
    port: int = 0
    spans: list[Span] = field(default_factory=list)
    messages: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)

    def take(self, request: messages.ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            named = {one.key: value(one.value) for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for one in scope.spans:
                    self.spans.append(Span(
                        trace=one.trace_id.hex(), id=one.span_id.hex(), parent=one.parent_span_id.hex(), name=one.name,
                        kind=one.kind, start=one.start_time_unix_nano, end=one.end_time_unix_nano,
                        attributes={pair.key: value(pair.value) for pair in one.attributes},
                        events=tuple(event.name for event in one.events),
                        failed=one.status.code == trace_pb2.Status.STATUS_CODE_ERROR, service=named["service.name"],
                    ))
        self.messages += 1

    def __enter__(self) -> Collector:
        getattr(self, f"_start_{self.protocol}")()
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start_grpc(self) -> None:
        collector = self

        class Service(service.TraceServiceServicer):
            def Export(self, request, context):  # noqa: N802
                collector.headers.append(dict(context.invocation_metadata()))
                collector.take(request)
                return messages.ExportTraceServiceResponse()

        server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        service.add_TraceServiceServicer_to_server(Service(), server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        server.start()
        self._stop = lambda: server.stop(None).wait()

    def _start_http(self) -> None:
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:  # noqa: N802
                body = self.rfile.read(int(self.headers["content-length"]))
                known = self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf"
                if known:
                    collector.headers.append({name.lower(): text for name, text in self.headers.items()})
                    collector.take(messages.ExportTraceServiceRequest.FromString(body))
                self.send_response(200 if known else 404)
                self.send_header("content-length", "0")
                self.end_headers()

        server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

        def stop() -> None:
            server.shutdown()
            server.server_close()

        self._stop = stop

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def trace(self, trace: str, ends: str = "gateway.request") -> dict[str, list[Span]]:
        """The spans of a trace by their names, once the one that ends last is here."""
        process.eventually(f"{ends} of {trace} was exported", lambda: any(one.trace == trace for one in self.named(ends)))
        spans: dict[str, list[Span]] = {}
        for span in self.spans:
            if span.trace == trace:
                spans.setdefault(span.name, []).append(span)
        return spans
