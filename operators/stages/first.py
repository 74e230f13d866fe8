"""First playable: a video's first seconds can be watched before its bytes are in the store.

The segment is published under the ingest's id: in a private place, by URLs that are signed and short-lived, once the
quick gate has let the file pass. When the digest is known, it is adopted under its result id. If the asset fails, it
is withdrawn. `growth` lets the playlist grow while the preview is made.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

from operators.media.first import FirstSegment
from operators.media.segments import Entry, event_playlist
from operators.media.types import could_be_video
from operators.pools import TaskLimits
from operators.served import Handle, serving
from operators.stages.first_tasks import show
from operators.stages.services import Services
from operators.stages.steps import File, Made, Step, events_of, find, once, status
from operators.stages.validate import original_of
from schemas.asset import Source, StepResult, StepRun, Work
from schemas.errors import AssetError, State, as_asset_error
from schemas.events import StatusChanged
from schemas.ports import Parts

VERSION = "1"
LANE = "first"
LIMITS = TaskLimits(wall_s=60, cpu_s=60)
# the fetch of a local file waits so long at most, since its copy and its hash would stand in the way
HEAD_START_S = 1.0
LASTING_S = 3600
PLAYLIST, PLAYLIST_TYPE = "preview.m3u8", "application/vnd.apple.mpegurl"
INIT, MEDIA, SEGMENT_TYPE = "first-init.mp4", "first.m4s", "video/mp4"


def private_prefix(tenant: str, asset_id: str) -> str:
    """Where an asset's private files lie."""
    return f"first/{tenant}/{asset_id}"


def private_key(work: Work, name: str) -> str:
    """The key of a private file of this job."""
    return f"{private_prefix(work.tenant, work.asset_id)}/{work.record.job_id}/{name}"


def step_of(work: Work) -> Step:
    """The step under whose result id the segment is adopted."""
    pipeline = work.pipeline
    params = {"encode": pipeline.video.preview, "bit_rate": pipeline.audio.preview_bit_rate}
    return Step("preview", "first", VERSION, (original_of(work).sha256,), params)


@dataclass(frozen=True)
class Shown:
    """A published segment, how long it took in s, and the URL of its playlist.

    `read` are the places and SHA-256 digests of the bytes that it was made of, where they were not the fetch's own.
    """

    segment: FirstSegment
    took: float
    url: str
    read: Mapping[tuple[int, int], str] = field(default_factory=dict)


Found = Shown | StatusChanged | None


@asynccontextmanager
async def beside(services: Services, work: Work, source: Source, limit: int) -> AsyncIterator[asyncio.Task[Found]]:
    """Begins with the source's first segment, and gives it a head start; an error inside withdraws it.

    The task gives what was published, or the event that says why nothing was; None for what is no video.
    """
    task = asyncio.create_task(_early(services, work, source, limit))
    try:
        await asyncio.wait({task}, timeout=HEAD_START_S)
        yield task
    except BaseException as exception:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if isinstance(exception, Exception) and may_be_video(work):
            await _withdrawn(services, work, as_asset_error(exception))
        raise


async def _early(services: Services, work: Work, source: Source, limit: int) -> Found:
    """Of a local file, or by ranges of a URL; None of other sources, which are shown once they are in the store."""
    if not may_be_video(work):
        return None
    try:
        descriptor = await asyncio.to_thread(services.descriptor, source)
        if descriptor is None:
            return await _ranged(services, work, source, limit)
    except AssetError:  # the fetch tells it
        return None
    try:
        return await _show(services, work, Handle(descriptor, os.fstat(descriptor).st_size))
    finally:
        os.close(descriptor)


async def _ranged(services: Services, work: Work, source: Source, limit: int) -> Shown | None:
    """What is read is remembered, since a server may give other bytes to the fetch. Raises as the task does."""
    parts, read = await services.parts(source, limit), dict[tuple[int, int], str]()
    if parts is None:
        return None

    async def reading(start: int, end: int) -> bytes:
        data = await parts.read(start, end)
        read[start, end] = hashlib.sha256(data).hexdigest()
        return data

    async with serving(Parts(parts.size, reading)) as handle:
        shown = await _published(services, work, handle)
    return replace(shown, read=read) if shown else None


def may_be_video(work: Work) -> bool:
    """Whether the name leaves it possible: the quick gate refuses a video that is named otherwise."""
    return could_be_video(work.record.request.source.name)


async def _show(services: Services, work: Work, handle: Handle) -> Found:
    """Makes and publishes the segment; an error is told as the reason why there is none."""
    try:
        return await _published(services, work, handle)
    except AssetError as error:
        return _told(services, work, State.SKIPPED, code=error.code, detail=error.detail)


async def _published(services: Services, work: Work, handle: Handle) -> Shown | None:
    request, started = work.record.request, time.monotonic()
    named = f"*{PurePosixPath(request.source.name).suffix}"
    segment = await services.pools.run(
        LANE, show, handle, named, request.declared.media_type, work.pipeline, limits=LIMITS
    )
    if segment is None:
        return None
    url, took = await publish(services, work, segment), round(time.monotonic() - started, 4)
    _told(services, work, State.COMPLETED, url=url, duration_s=took)
    return Shown(segment, took, url)


async def publish(services: Services, work: Work, segment: FirstSegment) -> str:
    """Puts the segment where its owner alone can fetch it, the playlist last; the playlist's URL."""
    files = ((INIT, segment.init), (MEDIA, segment.media))
    await asyncio.gather(*(services.store.put(private_key(work, name), data, SEGMENT_TYPE) for name, data in files))
    return await put_playlist(services, work, [await entry(services, work, float(segment.end))], ended=False)


async def entry(services: Services, work: Work, seconds: float) -> Entry:
    """The segment in the playlist."""
    return Entry(await named(services, work, MEDIA), await named(services, work, INIT), seconds)


async def named(services: Services, work: Work, name: str) -> str:
    """What a playlist names a private file by: its URL, or beside it in a folder its name."""
    url = await services.store.private_url(private_key(work, name), LASTING_S)
    return name if url.startswith(("file:", "memory:")) else url


async def put_playlist(services: Services, work: Work, entries: Sequence[Entry], ended: bool) -> str:
    """Replaces the playlist as a whole; its URL."""
    key = private_key(work, PLAYLIST)
    await services.store.put(key, event_playlist(entries, ended).encode(), PLAYLIST_TYPE)
    return await services.store.private_url(key, LASTING_S)


def _told(services: Services, work: Work, state: State, **rest: Any) -> StatusChanged:
    event = status(work, "preview", "first", state, at_ms=services.clock_ms(), **rest)
    services.on_event(event)
    return event


async def adopted(services: Services, work: Work, shown: Found) -> tuple[list[StepRun], list[StatusChanged]]:
    """The segment under its result id, and the events to keep.

    Where nothing was shown yet, or of other bytes, one that is known from another ingest of the same bytes is, or it is
    made of the stored object.
    """
    if isinstance(shown, Shown) and not await _is_of(services, work, shown):
        await _taken_away(services, work)
        shown = None
    if shown is None and may_be_video(work):
        shown = await _known(services, work) or await _stored(services, work)
    if not isinstance(shown, Shown):
        return [], [shown] if shown else []
    segment = shown.segment

    async def compute(scratch: Path) -> Made:
        return await asyncio.to_thread(_made, segment, scratch)

    run = await once(services, work, step_of(work), compute, quiet=True)
    (event,) = events_of(services, work, [run])
    return [run], [event.model_copy(update={"url": shown.url, "duration_s": shown.took})]


async def _is_of(services: Services, work: Work, shown: Shown) -> bool:
    """Whether the original has the bytes that the segment was made of."""
    original = original_of(work)
    for (start, end), digest in shown.read.items():
        if end > original.bytes:
            return False
        data = await services.store.read_range(work.tenant, original.sha256, start, end)
        if hashlib.sha256(data).hexdigest() != digest:
            return False
    return True


def _made(segment: FirstSegment, scratch: Path) -> Made:
    files = []
    for name, data in ((INIT, segment.init), (MEDIA, segment.media)):
        (scratch / name).write_bytes(data)
        files.append(File(name, "part", scratch / name, SEGMENT_TYPE))
    about = {"end": str(segment.end), "pictures": segment.pictures, "whole": segment.whole, "copied": segment.copied}
    return Made(files, about)


async def _known(services: Services, work: Work) -> Shown | None:
    started, found = time.monotonic(), await find(services, work.tenant, step_of(work))
    if found is None:
        return None
    segment = await segment_of(services, work, found)
    url = await publish(services, work, segment)
    took = round(time.monotonic() - started, 4)
    _told(services, work, State.COMPLETED, url=url, duration_s=took, cached=True)
    return Shown(segment, took, url)


async def segment_of(services: Services, work: Work, result: StepResult) -> FirstSegment:
    """The segment that a result has. Raises object_missing, object_damaged."""
    init, media = [await services.store.read(work.tenant, output.sha256) for output in result.outputs]
    values = result.values
    return FirstSegment(init, media, Fraction(values["end"]), values["pictures"], values["whole"], values["copied"])


async def _stored(services: Services, work: Work) -> Found:
    """Of the object in the store, which is read by ranges."""
    original = original_of(work)

    async def read(start: int, end: int) -> bytes:
        return await services.store.read_range(work.tenant, original.sha256, start, end)

    async with serving(Parts(original.bytes, read)) as handle:
        return await _show(services, work, handle)


async def withdraw(services: Services, work: Work, error: AssetError) -> StatusChanged | None:
    """Takes back the segment of an asset that failed; the event to keep, None where there was none."""
    if work.step("preview.first") is None:
        return None
    return await _withdrawn(services, work, error)


async def _withdrawn(services: Services, work: Work, error: AssetError) -> StatusChanged | None:
    if not await _taken_away(services, work) and work.step("preview.first") is None:
        return None
    return _told(services, work, State.FAILED, code=error.code, detail=error.detail, attempt=2)


async def _taken_away(services: Services, work: Work) -> bool:
    """Deletes what was published; whether there was any."""
    keys = await services.store.keys(private_key(work, "").rstrip("/"))
    # the playlist goes first: a player must not find one without segments
    for key in sorted(keys, key=lambda key: not key.endswith(PLAYLIST)):
        await services.store.delete(key)
    return bool(keys)
