"""A stand-in for a collector of traces or of errors: an HTTP server that keeps what it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from gzip import decompress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Listener:
    """An HTTP server that keeps what is sent to it."""

    port: int = 0
    got: list[tuple[str, bytes]] = field(default_factory=list)


@contextmanager
def listening() -> Iterator[Listener]:
    """A listener on loopback, until the context ends."""
    made = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.got.append((self.path, decompress(body) if self.headers["Content-Encoding"] == "gzip" else body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


def spans_of(listener: Listener) -> list[tuple[str, Span]]:
    """The spans that a collector got, each with the name of the service that told it."""
    requests = [ExportTraceServiceRequest.FromString(body) for path, body in listener.got if path == "/v1/traces"]
    return [
        (next(each.value.string_value for each in told.resource.attributes if each.key == "service.name"), span)
        for request in requests for told in request.resource_spans for scope in told.scope_spans for span in scope.spans
    ]  # fmt: skip
