"""An HTTP server on loopback for browsers: files of folders, whole or by one byte range (RFC 9110, 14)."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TYPES = {
    ".html": "text/html", ".js": "text/javascript", ".m3u8": "application/vnd.apple.mpegurl", ".mp4": "video/mp4",
    ".m4a": "audio/mp4", ".vtt": "text/vtt",
}  # fmt: skip


@contextmanager
def served(places: Mapping[str, Path]) -> Iterator[str]:
    """The address of a server of these folders and files, by the paths that they are under."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = _file(places, self.path)
            if path is None:
                self.send_error(404)
                return
            data, status = path.read_bytes(), 200
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if asked:
                first, size = int(asked[1]), len(data)
                data, status = data[first : int(asked[2]) + 1 if asked[2] else None], 206
            self.send_response(status)
            if asked:
                self.send_header("Content-Range", f"bytes {first}-{first + len(data) - 1}/{size}")
            self.send_header("Content-Type", TYPES.get(path.suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _file(places: Mapping[str, Path], path: str) -> Path | None:
    for prefix, place in places.items():
        if path == prefix:
            return place if place.is_file() else None
        if path.startswith(f"{prefix}/") and (place / path.removeprefix(f"{prefix}/")).is_file():
            return place / path.removeprefix(f"{prefix}/")
    return None
