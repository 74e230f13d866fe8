"""What cutting a video into chunks costs and gives: bytes, time on two workers, memory of a worker."""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from bench import sources
from bench.measure import Row
from dataflows.runtime import PRELOAD
from operators.media.chunks import Range
from operators.media.join import join
from operators.media.plan import RenderPlan, plan_video
from operators.media.probe import quick_probe
from operators.pools import Lane, Pools
from operators.stages.video_tasks import LIMITS, ChunkFiles, render
from schemas.pipelines import Limits, PreviewParams, VideoParams

MEZZANINE = "mezzanine"
WHOLE: Range = (None, None)
Tell = Callable[[str], object]


@dataclass
class Walls:
    """Seconds of each round: the chunks by one worker and by two, the whole by one alone and two of it at once."""

    one: list[float] = field(default_factory=list)
    two: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)


def compared(seconds: int, rounds: int, tell: Tell) -> tuple[list[Row], Walls]:
    """Size of a mezzanine of 10 s chunks, and how much a second worker helps, against one piece of the same clip."""
    tell(f"the clip of {seconds} s")
    clip, walls = sources.clip(seconds), Walls()
    plan = planned(clip).only({MEZZANINE})
    with tempfile.TemporaryDirectory(dir=sources.CACHE) as made:
        folder = Path(made)
        for number in range(rounds):
            tell(f"mezzanine in chunks and in one piece, round {number + 1} of {rounds}")
            chunks, walls_one = encoded(clip, folder / f"one-{number}", plan, plan.chunks, 1)
            _chunks, walls_two = encoded(clip, folder / f"two-{number}", plan, plan.chunks, 2)
            (piece,), wall_alone = encoded(clip, folder / f"alone-{number}", plan, [WHOLE], 1)
            _pieces, wall_beside = encoded(clip, folder / f"beside-{number}", plan, [WHOLE, WHOLE], 2)
            for seen, wall in zip(vars(walls).values(), (walls_one, walls_two, wall_alone, wall_beside), strict=True):
                seen.append(wall)
        join(chunks, None, folder / "chunked.mp4", plan.origin)
        join([piece], None, folder / "whole.mp4", plan.origin)
        size = (folder / "chunked.mp4").stat().st_size / (folder / "whole.mp4").stat().st_size
    return [_of_size(seconds, plan, size), _of_workers(seconds, walls)], walls


def _of_size(seconds: int, plan: RenderPlan, ratio: float) -> Row:
    return Row(
        f"{seconds} s 1080p clip in {len(plan.chunks)} chunks: size of the mezzanine, of one piece's", ratio, 1.01
    )


def _of_workers(seconds: int, walls: Walls) -> Row:
    """Two encodes at once share memory and clock, so that a second core does not halve their time either."""
    rounds = zip(walls.one, walls.two, walls.alone, walls.beside, strict=True)
    ratio = median((two / one) / (beside / (2 * alone)) for one, two, alone, beside in rounds)
    return Row(f"{seconds} s 1080p clip, 2 workers of 1's wall time, of two independent encodes' the same", ratio, 1.05)


def planned(clip: Path, video: VideoParams | None = None) -> RenderPlan:
    """The plan of a clip as the default pipeline has it."""
    return plan_video(clip, quick_probe(clip, "video", Limits()), video or VideoParams(), PreviewParams())


def encoded(
    clip: Path, folder: Path, plan: RenderPlan, ranges: Sequence[Range], workers: int
) -> tuple[list[Path], float]:
    """The mezzanine's files by range, and the wall time once so many sandboxed workers have started."""

    async def run() -> tuple[list[ChunkFiles], float]:
        # the server of which workers are forks starts with the first task
        await asyncio.gather(*(pools.run("heavy", time.sleep, 0.5, limits=LIMITS) for _ in range(workers)))
        started = time.perf_counter()
        tasks = [_task(pools, clip, folder / str(number), plan, r) for number, r in enumerate(ranges)]
        return list(await asyncio.gather(*tasks)), time.perf_counter() - started

    pools = Pools({"heavy": Lane(workers, nice=5)}, None, preload=PRELOAD)
    pools.start()
    try:
        made, wall = asyncio.run(run())
    finally:
        pools.close()
    return [files.files[MEZZANINE] for files in made], wall


async def _task(pools: Pools, clip: Path, scratch: Path, plan: RenderPlan, chunk: Range) -> ChunkFiles:
    scratch.mkdir(parents=True)
    files: ChunkFiles = await pools.run(
        "heavy", render, clip, scratch, plan, *chunk, limits=LIMITS, read=[clip], scratch=scratch
    )
    return files


def of_memory(long_s: int, short_s: int, chunks: int, tell: Tell) -> list[Row]:
    """The peak resident memory of a worker that renders so many chunks of a long clip, and as many of a short one."""
    peaks = []
    for seconds in (short_s, long_s):
        tell(f"memory of a worker, {seconds} s")
        peaks.append(peak_mb(sources.clip(seconds), chunks))
    short, long = peaks
    return [
        Row(f"peak memory of a chunk worker, 1080p, {long_s} s of {short_s} s", long / short, 1.02),
        Row(f"peak memory of a chunk worker, 1080p, {long_s} s, in MB", long, 450.0),
    ]


def peak_mb(clip: Path, chunks: int) -> float:
    """Of a fresh process that renders all outputs of some of the clip's chunks, the first and the last among them."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_rendering, (clip, planned(clip), chunks))


def _rendering(clip: Path, plan: RenderPlan, count: int) -> float:
    last = len(plan.chunks) - 1
    places = sorted({round(n * last / max(1, count - 1)) for n in range(count)})
    for place in places:
        start, stop = plan.chunks[place]
        with tempfile.TemporaryDirectory(dir=sources.CACHE) as folder:
            render(clip, Path(folder), replace(plan, chunks=()), start, stop)
    lines = Path("/proc/self/status").read_text().splitlines()
    (high,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(high) / 1024
