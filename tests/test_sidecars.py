"""Files that lie beside an asset's: found by their names, submitted with it, and fetched with it."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from waiting import failure

from dataflows.connections import objects_of
from dataflows.submit import events_of, left_out, submission_of
from dataflows.submitting import _Uploader
from operators.media.types import is_sidecar_of
from operators.stages.ingest import fetched, original_key
from operators.stages.services import Services
from schemas.asset import IngestRecord, IngestRequest, Source, Work
from schemas.errors import AssetError
from schemas.events import IngestEvent
from schemas.pipelines import Limits, Pipeline
from schemas.settings import Settings
from sinks.objects import Objects

FILM, ENGLISH, GERMAN = b"a film", b"1\n00:00:01,000 --> 00:00:02,000\nHello\n", b"eine Datei"


def sha(data: bytes) -> str:
    """The digest in hex."""
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("sidecar", "media", "belongs"),
    [
        ("clip.srt", "clip.mp4", True),
        ("clip.en.srt", "clip.mp4", True),
        ("clip.pt-BR.forced.VTT", "clip.mkv", True),
        ("clip.mp4.de.ass", "clip.mp4", True),
        ("clip.mp4.de.ass", "clip.mov", False),
        ("clip2.srt", "clip.mp4", False),
        ("clip.srt", "clip.jpg", False),
        ("clip.txt", "clip.mp4", False),
        ("a.xmp", "a.jpg", True),
        ("a.jpg.xmp", "a.jpg", True),
        ("a.jpg.xmp", "a.png", False),
        ("a.xmp", "a.mp4", False),
    ],
)
def test_a_sidecar_is_known_by_its_name(sidecar: str, media: str, belongs: bool) -> None:
    """Subtitles belong to a video and XMP to a picture whose name their own begins with."""
    assert is_sidecar_of(sidecar, media) is belongs


def submitted(folder: Path) -> dict[str, IngestEvent]:
    """The events of a folder by the file's name."""
    settings = Settings(out=folder.parent / "out")
    return {e.data.source.name: e for e in events_of(settings, [str(folder)], submission_of(settings))}


def test_a_folders_sidecars_are_submitted_with_their_media(tmp_path: Path) -> None:
    """They are no assets and not left out; one that came since makes another submission, under another key."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(FILM)
    alone = submitted(folder)["clip.mp4"].data
    (folder / "clip.en.srt").write_bytes(ENGLISH)
    (folder / "notes.srt").write_bytes(GERMAN)
    found = submitted(folder)
    beside = found["clip.mp4"].data
    assert list(found) == ["clip.mp4"]
    assert [(s.name, s.sha256) for s in beside.sidecars] == [("clip.en.srt", sha(ENGLISH))]
    assert alone.sidecars == () and alone.asset_id != beside.asset_id
    assert [path.name for path in left_out([str(folder)])] == ["notes.srt"]


@pytest.fixture
def services() -> Services:
    """A store in memory that has the files, and nobody who fetches."""
    store = Objects("memory:///")
    for data in (FILM, ENGLISH, GERMAN):
        asyncio.run(store.add_bytes("default", data, "application/octet-stream"))

    async def nothing_to_show(*_task: object, **_limits: object) -> None:
        raise AssetError("no_key_frame")

    async def no_ranges(*_source: object) -> None:
        pass

    pools = SimpleNamespace(run=nothing_to_show)
    nobody = {"descriptor": lambda _source: None, "parts": no_ranges, "on_event": lambda _event: None}
    return cast(Services, SimpleNamespace(store=store, pools=pools, clock_ms=lambda: 1, **nobody))


def work(*sidecars: tuple[str, bytes], limit: int = 100) -> Work:
    """An accepted request of the film with these files beside it."""
    beside = tuple(Source.of_object(sha(data), name) for name, data in sidecars)
    request = IngestRequest(source=Source.of_object(sha(FILM), "clip.mp4"), sidecars=beside, idempotency_key="k")
    record = IngestRecord(asset_id=request.asset_id, job_id="j", event_id="e", accepted_ms=1, request=request)
    return Work(record=record, pipeline=Pipeline(limits=Limits(sidecar_bytes=limit)))


def test_sidecars_come_with_the_original(services: Services) -> None:
    """Each is an output of its own step, known by its name in the request, and belongs to the asset from then on."""
    wanted = work(("clip.en.srt", ENGLISH), ("clip.de.srt", GERMAN))
    made = asyncio.run(fetched(services, wanted, wanted.record.request)).item
    assert made.original.sha256 == sha(FILM)
    found = [(name, output.sha256, output.role) for name, output in made.sidecars]
    assert found == [("clip.en.srt", sha(ENGLISH), "sidecar"), ("clip.de.srt", sha(GERMAN), "sidecar")]
    for data in (ENGLISH, GERMAN):
        assert asyncio.run(services.store.get(original_key("default", sha(data), wanted.asset_id))) is not None


def test_a_sidecar_has_a_limit_of_its_own(services: Services) -> None:
    """One that is larger refuses the submission, with the code that a person can act on."""
    wanted = work(("clip.en.srt", ENGLISH), limit=10)
    assert failure(fetched(services, wanted, wanted.record.request)).code == "too_large"


def test_sidecars_are_part_of_the_payload() -> None:
    """The same key with other sidecars is another payload; without any it is as it was before there were any."""
    payloads = {work(*beside).record.request.payload_digest for beside in ((), [("a.srt", ENGLISH)], [("a.srt", FILM)])}
    assert len(payloads) == 3


def test_sidecars_are_uploaded_with_their_media(tmp_path: Path) -> None:
    """The event that is sent names both as objects of the store, where they lie by then and belong to the asset."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(FILM)
    (folder / "clip.srt").write_bytes(ENGLISH)
    settings = Settings(out=tmp_path / "out")
    event = submitted(folder)["clip.mp4"]
    sent = asyncio.run(_Uploader(settings, submission_of(settings))._uploaded(event)).data
    assert (sent.source.stored, [one.stored for one in sent.sidecars]) == (sha(FILM), [sha(ENGLISH)])
    assert sent.sidecars[0].name == "clip.srt" and sent.payload_digest == event.data.payload_digest
    store = objects_of(settings)
    assert asyncio.run(store.read("default", sha(ENGLISH))) == ENGLISH
    assert asyncio.run(store.get(original_key("default", sha(ENGLISH), sent.asset_id))) is not None
