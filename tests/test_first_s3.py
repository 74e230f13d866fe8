"""First playable of an object on S3: read by ranges, and reachable by its signed, short-lived URLs alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import buckets
import httpx
import media_factory as make
import pytest

from chaos.servers import S3, S3_KEY, S3_SECRET
from dataflows.runtime import Runtime
from operators.stages import dead_letter, first, ingest
from schemas.asset import IngestRequest, ObjectKind, Source, Work
from schemas.events import IngestEvent, StatusChanged
from schemas.outcome import Failed
from schemas.settings import Settings
from schemas.structs import received

pytestmark = pytest.mark.services


@dataclass
class Flow:
    """The ingest stage on an S3 store, and what it told."""

    runtime: Runtime
    told: list[StatusChanged] = field(default_factory=list)

    def taken(self, source: Source) -> tuple[Work, StatusChanged]:
        """The work of a source after its ingest, and the durable event of its first playable."""
        request = IngestRequest(source=source, idempotency_key=source.name)
        event = IngestEvent(id=source.name, source="test", data=request)
        outcome = self.runtime.loop.run(ingest.run(self.runtime.services, received(event.model_dump_json().encode())))
        [told] = [event for event in outcome.events if event.step == "first"]
        assert outcome.item is not None
        return outcome.item, told


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    with buckets.bucket() as url:
        account = {"s3_endpoint": S3, "s3_access_key": S3_KEY, "s3_secret_key": S3_SECRET}
        settings = Settings(out=tmp_path_factory.mktemp("out"), objects=url, **account)
        found = Flow(Runtime(settings, "ingest", None))
        found.runtime._listeners.append(found.told.append)
        with found.runtime:
            yield found


@pytest.fixture(scope="module")
def stored(flow: Flow, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A video that lies in the store."""
    clip = make.Clip(pts=range(24 * 6), pixel_format="yuv444p", audio=make.tone(6, 0.2))
    path = make.write(tmp_path_factory.mktemp("source") / "film.mp4", clip)
    ref = flow.runtime.loop.run(flow.runtime.store.add_file("default", path, "video/mp4", ObjectKind.ORIGINAL))
    return Source.of_object(ref.sha256, "film.mp4")


@pytest.fixture(scope="module")
def taken(flow: Flow, stored: Source) -> tuple[Work, StatusChanged]:
    return flow.taken(stored)


def urls_in(playlist: str) -> list[str]:
    """The URLs that a playlist names, its initializations first."""
    lines = playlist.splitlines()
    inits = [line.split('"')[1] for line in lines if line.startswith("#EXT-X-MAP")]
    return [*inits, *(line for line in lines if line.startswith("http"))]


def test_the_signed_urls_give_what_can_be_played(taken: tuple[Work, StatusChanged], tmp_path: Path) -> None:
    """Playlist, initialization and segment come with their types, no cache may keep them, and they play."""
    _, told = taken
    playlist = httpx.get(told.url)
    files = [httpx.get(url) for url in urls_in(playlist.text)]
    assert len(files) == 2
    assert playlist.headers["content-type"] == first.PLAYLIST_TYPE
    assert {answer.headers["cache-control"] for answer in (playlist, *files)} == {"no-store"}
    (tmp_path / "first.mp4").write_bytes(b"".join(answer.content for answer in files))
    assert [number for _, number in make.shown(tmp_path / "first.mp4")] == list(range(48))
    with av.open(str(tmp_path / "first.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


def test_nobody_else_can_fetch_it(taken: tuple[Work, StatusChanged]) -> None:
    """Without the signature, or with another's, S3 refuses all of the files; the signature does not last."""
    _, told = taken
    for url in [told.url, *urls_in(httpx.get(told.url).text)]:
        bare = urlsplit(url)._replace(query="").geturl()
        assert httpx.get(bare).status_code == 403
        assert httpx.get(url[:-6] + "abcdef").status_code == 403
        assert f"X-Amz-Expires={first.LASTING_S}" in url


def test_a_url_ends(flow: Flow, taken: tuple[Work, StatusChanged]) -> None:
    """After its time a URL gives nothing."""
    work, _ = taken
    url = flow.runtime.loop.run(flow.runtime.store.private_url(first.private_key(work, first.PLAYLIST), 1))
    assert httpx.get(url).status_code == 200
    time.sleep(2.1)
    assert httpx.get(url).status_code == 403


def test_it_was_read_by_ranges(flow: Flow, stored: Source, taken: tuple[Work, StatusChanged]) -> None:
    """The object did not travel as a whole to be shown: no scratch was needed, and it is adopted under its digest."""
    work, told = taken
    step = work.step("preview.first")
    assert step is not None and step.inputs == (stored.stored,) and told.result_id == step.result_id
    assert not [path for path in flow.runtime.scratch.rglob("*") if path.is_file()]


def test_what_fails_is_withdrawn(flow: Flow, taken: tuple[Work, StatusChanged]) -> None:
    """When the asset has failed its URLs give nothing any more, and an event has the code."""
    work, told = taken
    urls = [told.url, *urls_in(httpx.get(told.url).text)]
    ending = dead_letter.ending_of(Failed(work, "derive", "corrupt_media", "video at 3 s", ()))
    outcome = flow.runtime.loop.run(dead_letter.run(flow.runtime.services, ending))
    assert {httpx.get(url).status_code for url in urls} == {404}
    assert [row["data"] for table, row in outcome.rows if table == "events" and '"step":"first"' in row["data"]]
    assert (flow.told[-1].step, flow.told[-1].state, flow.told[-1].code) == ("first", "failed", "corrupt_media")


def test_a_range_is_that_of_the_object(flow: Flow, stored: Source) -> None:
    """Start and end are bytes from the object's start; what is not there is an error with a code."""
    store: Any = flow.runtime.store

    async def run() -> None:
        whole = await store.read("default", stored.stored)
        assert await store.read_range("default", stored.stored, 100, 5000) == whole[100:5000]
        with pytest.raises(Exception, match="object_missing"):
            await store.read_range("default", "0" * 64, 0, 1)

    flow.runtime.loop.run(run())
