"""First playable of a URL: shown from ranges while the whole file is still under way, and only of what came."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import media_factory as make
import pytest

from chaos.waiting import eventually
from dataflows.runtime import Runtime
from operators.stages import first, ingest
from schemas.asset import IngestRequest, Source, Work
from schemas.errors import AssetError
from schemas.events import IngestEvent, StatusChanged
from schemas.outcome import Outcome
from schemas.settings import Settings
from schemas.structs import received

SECONDS = 60
Answers = Callable[[BaseHTTPRequestHandler, bytes, int, int], None]


class Server(ThreadingHTTPServer):
    """A server of one file on loopback. The whole file stops halfway until it is let `go`."""

    daemon_threads = True

    def __init__(self, data: bytes, ranges: Answers) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.data, self.ranges, self.go = data, ranges, threading.Event()
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.server.asked.append(self.headers.get("Range", "whole"))
        data = self.server.data
        if asked:
            self.server.ranges(self, data, int(asked[1]), min(int(asked[2]) + 1, len(data)))
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", '"one"')
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.server.go.wait(30)
        self.wfile.write(data[len(data) // 2 :])

    def log_message(self, *_: object) -> None:
        pass


def part(handler: BaseHTTPRequestHandler, data: bytes, start: int, end: int, place: str = "", tag: str = "one") -> None:
    """The range, as it should be; or another `place` and ETag than it has."""
    handler.send_response(206)
    handler.send_header("Content-Range", place or f"bytes {start}-{end - 1}/{len(data)}")
    handler.send_header("Content-Length", str(end - start))
    handler.send_header("ETag", f'"{tag}"')
    handler.end_headers()
    handler.wfile.write(data[start:end])


def ignored(handler: BaseHTTPRequestHandler, data: bytes, _start: int, _end: int) -> None:
    """The whole file, as servers do that know no ranges."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()


def refused(handler: BaseHTTPRequestHandler, *_: object) -> None:
    """Ranges are not allowed."""
    handler.send_error(416)


def elsewhere(handler: BaseHTTPRequestHandler, data: bytes, start: int, end: int) -> None:
    """Bytes of another place."""
    part(handler, data, start, end, f"bytes {start + 1}-{end}/{len(data)}")


def endless(handler: BaseHTTPRequestHandler, data: bytes, start: int, end: int) -> None:
    """A file that is said to be larger than any that is taken."""
    part(handler, data, start, end, f"bytes {start}-{end - 1}/{10**15}")


def other_version(handler: BaseHTTPRequestHandler, data: bytes, start: int, end: int) -> None:
    """A newer file than the one that was submitted."""
    part(handler, data, start, end, tag="two")


def cut_off(handler: BaseHTTPRequestHandler, data: bytes, start: int, end: int) -> None:
    """The line is cut within the second range."""
    if start == 0:
        part(handler, data, start, end)
        return
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
    handler.end_headers()
    handler.wfile.write(data[start : start + 10])


@dataclass
class Taking:
    """An ingest that is under way, what was told of it, and the server."""

    server: Server
    runtime: Runtime
    told: list[StatusChanged] = field(default_factory=list)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def begin(self, uri: str = "") -> Future[Outcome[Work]]:
        """Takes in the server's file."""
        uri = uri or f"http://127.0.0.1:{self.server.server_port}/film.mp4"
        source = Source(uri=uri, name="film.mp4", validator='"one"')
        event = IngestEvent(id="one", source="test", data=IngestRequest(source=source, idempotency_key="film"))
        message = received(event.model_dump_json().encode())
        return self.pool.submit(self.runtime.loop.run, ingest.run(self.runtime.services, message))

    def shown(self) -> list[StatusChanged]:
        """The events of the first playable."""
        return [event for event in self.told if event.step == "first"]

    def pictures(self, work: Work, folder: Path) -> list[int]:
        """The numbers of the pictures that the private files show."""
        store, path = self.runtime.store, folder / "first.mp4"
        keys = [first.private_key(work, name) for name in (first.INIT, first.MEDIA)]
        path.write_bytes(b"".join(self.runtime.loop.run(store.get(key)) or b"" for key in keys))
        return [number for _, number in make.shown(path)]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video whose index is at its end, beyond the first range."""
    clip = make.Clip(pts=range(24 * SECONDS), size=(640, 360), pixel_format="yuv444p", x264="qp=0")
    data = make.write(tmp_path_factory.mktemp("film") / "film.mp4", clip).read_bytes()
    assert len(data) > 2 * 2**20
    return data


@contextmanager
def served(film: bytes, ranges: Answers, out: Path) -> Iterator[Taking]:
    """An embedded runtime beside a server of the film that answers ranges so."""
    with Server(film, ranges) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        allowed = (f"127.0.0.1:{server.server_port}",)
        with Runtime(Settings(out=out, url_allowed_networks=allowed), "ingest", None) as runtime:
            found = Taking(server, runtime)
            runtime._listeners.append(found.told.append)
            yield found
        server.shutdown()


@pytest.fixture
def taking(request: pytest.FixtureRequest, film: bytes, tmp_path: Path) -> Iterator[Taking]:
    """The film, with ranges as the parameter says."""
    with served(film, request.param, tmp_path / "out") as found:
        yield found


@pytest.mark.parametrize("taking", [part], indirect=True)
def test_it_is_shown_before_the_file_has_come(taking: Taking, tmp_path: Path) -> None:
    """Half of the file has not been sent when the playlist's URL is told; it is adopted, and nothing is made again."""
    coming = taking.begin()
    assert eventually(taking.shown, 20, 0.02) and not coming.done()
    [event] = taking.shown()
    assert event.state == "completed" and event.url.endswith("/preview.m3u8")
    taking.server.go.set()
    outcome = coming.result(60)
    work = outcome.item
    assert work is not None and work.step("preview.first") is not None
    assert taking.pictures(work, tmp_path) == list(range(48))
    [kept] = [event for event in outcome.events if event.step == "first"]
    assert kept.url == event.url and len(taking.shown()) == 1
    ranges = [asked for asked in taking.server.asked if asked != "whole"]
    assert taking.server.asked.count("whole") == 1 and len(ranges) == len(set(ranges)) < 8


@pytest.mark.parametrize("taking", [ignored, refused, elsewhere, endless, other_version, cut_off], indirect=True)
def test_without_good_ranges_it_is_shown_once_the_file_is_there(taking: Taking, tmp_path: Path) -> None:
    """A server that gives no ranges, or wrong ones, costs a request or two; the asset is taken in as it was."""
    taking.server.go.set()
    work = taking.begin().result(60).item
    assert work is not None and taking.pictures(work, tmp_path) == list(range(48))
    assert [event.state for event in taking.shown()] == ["completed"]
    assert len(taking.server.asked) <= 6


def lying(film: bytes) -> Answers:
    """Ranges of another film than the one that is sent whole."""

    def answers(handler: BaseHTTPRequestHandler, data: bytes, start: int, end: int) -> None:
        part(handler, film, start, end)

    return answers


@pytest.mark.parametrize("more", [-1, 2**20], ids=["shorter", "longer"])
def test_what_was_shown_of_other_bytes_is_replaced(more: int, film: bytes, tmp_path: Path) -> None:
    """A server that gives other bytes by ranges than as a whole: only the whole file's pictures are kept."""
    clip = make.Clip(pts=range(24 * 8), pixel_format="yuv444p", colour=(200, 40, 40))
    other = make.write(tmp_path / "other.mp4", clip).read_bytes()
    free = len(film) + more - len(other)
    other += free.to_bytes(4) + b"free" + bytes(free - 8)
    with served(film, lying(other), tmp_path / "out") as taking:
        coming = taking.begin()
        assert eventually(taking.shown, 20, 0.02)
        taking.server.go.set()
        work = coming.result(60).item
        assert work is not None and taking.pictures(work, tmp_path) == list(range(48))


@pytest.mark.parametrize("taking", [part], indirect=True)
def test_what_may_not_be_fetched_is_not_asked_for_a_range(taking: Taking) -> None:
    """Another address than the allowed one is refused as before, and nothing is connected to."""
    with pytest.raises(AssetError, match="url_forbidden_address"):
        taking.begin("http://127.0.0.2:1/film.mp4").result(60)
    assert taking.server.asked == [] and taking.shown() == []
