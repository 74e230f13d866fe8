"""How soon a video can be played: from its event to the URL of its first segment, through the ingest stage itself."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np

from bench import sources
from bench.measure import Row, of_pairs
from dataflows.runtime import Runtime
from operators.pools import TaskLimits
from operators.stages import ingest
from schemas.asset import IngestRequest, Source
from schemas.events import IngestEvent, StatusChanged
from schemas.settings import Settings
from schemas.structs import received

LAYOUTS = {"front": ("-movflags", "+faststart"), "end": ()}
IDLE_S, BUSY_S, LONGER = 1.0, 1.5, 1.1


def measured(minutes: Sequence[int], rounds: int = 7) -> list[Row]:
    """Medians in s for 1080p sources of these lengths, idle and with all cores encoding, and longer ones against the
    shortest. Of index (moov) at the front and at the end, the slower one counts.
    """
    clips = {(length, layout): looped(length, layout) for length in minutes for layout in LAYOUTS}
    rows = []
    with tempfile.TemporaryDirectory() as folder, Runtime(Settings(out=Path(folder)), "ingest", None) as runtime:
        for name, aim, load in (("idle", IDLE_S, False), ("all cores encoding", BUSY_S, True)):
            with _encoding(runtime, load):
                found = _rounds(runtime, clips, rounds)
            for length in minutes:
                slower = max(median(found[length, layout]) for layout in LAYOUTS)
                rows.append(Row(f"first playable of {length} min 1080p, {name}: s", slower, aim))
            for length in minutes[1:]:
                worst = max(of_pairs(found[length, each], found[minutes[0], each]) for each in LAYOUTS)
                rows.append(Row(f"first playable of {length} min against {minutes[0]} min, {name}", worst, LONGER))
    return rows


def looped(minutes: int, layout: str) -> Path:
    """A 1080p video with 5.1 sound of so many minutes, its packets repeated, its index at the front or at the end."""
    path = sources.CACHE / f"first-{sources.VERSION}-{minutes}min-{layout}.mp4"
    if not path.exists():
        part = path.with_suffix(".part.mp4")
        repeated = ("-stream_loop", -1, "-i", sources.clip(sources.FILM_S), "-t", minutes * 60, "-c", "copy")
        sources.ffmpeg(*repeated, *LAYOUTS[layout], part)
        part.rename(path)
    return path


def _rounds(runtime: Runtime, clips: dict[tuple[int, str], Path], rounds: int) -> dict[tuple[int, str], list[float]]:
    """Seconds by clip, one after the other in every round; one round before, which fills caches, is left out."""
    found: dict[tuple[int, str], list[float]] = {clip: [] for clip in clips}
    for number in range(rounds + 1):
        for clip, path in clips.items():
            seconds = runtime.loop.run(_shown(runtime, path, f"{number}-{path.name}-{time.time_ns()}"))
            found[clip] += [seconds] if number else []
    return found


async def _shown(runtime: Runtime, path: Path, key: str) -> float:
    """Seconds from the event to its URL; what the ingest still had to do is given up then."""
    source = Source(uri=path.as_uri(), name=path.name, validator=key)
    event = IngestEvent(id=key, source="bench", data=IngestRequest(source=source, idempotency_key=key))
    told: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def listen(changed: StatusChanged) -> None:
        if changed.step == "first" and not told.done():
            if not changed.url:
                told.set_exception(RuntimeError(changed.message))
            else:
                told.set_result(time.perf_counter())

    runtime._listeners.append(listen)
    started = time.perf_counter()
    work = asyncio.create_task(ingest.run(runtime.services, received(event.model_dump_json().encode())))
    try:
        return await told - started
    finally:
        runtime._listeners.remove(listen)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


@contextmanager
def _encoding(runtime: Runtime, load: bool) -> Iterator[None]:
    """Keeps the heavy lane, which has a process for each core, busy with encodes."""
    if not load:
        yield
        return

    async def begin() -> list[asyncio.Task[None]]:
        limits = TaskLimits(wall_s=3600, cpu_s=3600)
        count = os.cpu_count() or 1
        return [asyncio.create_task(runtime.pools.run("heavy", encode, limits=limits)) for _ in range(count)]

    async def end(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    tasks = runtime.loop.run(begin())
    try:
        yield
    finally:
        runtime.loop.run(end(tasks))


def encode() -> None:
    """Encodes 1080p noise with one thread until it is ended."""
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 256, (1080, 1920, 3), np.uint8) for _ in range(8)]
    with av.open("/dev/null", "w", format="null") as container:
        stream: Any = container.add_stream("libx264", rate=24, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 1920, 1080, "yuv420p", 1
        for number in range(10**9):
            frame = av.VideoFrame.from_ndarray(pictures[number % 8], "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
