"""Takes what Alertmanager sends to Slack, and the spans that leave the collector; tells both as JSON."""

from __future__ import annotations

import gzip
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PAGES: list[str] = []
SPANS: dict[str, dict[str, str]] = {}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/traces":
            keep(ExportTraceServiceRequest.FromString(body))
            self.answer(b"", "application/x-protobuf")
        else:
            PAGES.append(body.decode())
            self.answer(b"ok", "text/plain")

    def do_GET(self) -> None:
        found = PAGES if self.path == "/pages" else SPANS
        self.answer(json.dumps(found).encode(), "application/json")

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def keep(request: ExportTraceServiceRequest) -> None:
    """By id: what comes again replaces itself."""
    for resource in request.resource_spans:
        [service] = [pair.value.string_value for pair in resource.resource.attributes if pair.key == "service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                SPANS[span.trace_id.hex() + span.span_id.hex()] = {
                    "trace": span.trace_id.hex(),
                    "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "name": span.name,
                    "service": service,
                }


ThreadingHTTPServer(("", 8080), Handler).serve_forever()
