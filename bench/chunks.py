"""What cutting a video into chunks costs and gives: bytes, and time on two workers."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

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
Tell = Callable[[str], object]


def compared(seconds: int, tell: Tell) -> list[Row]:
    """Size of a mezzanine of 10 s chunks, and how much a second worker helps, against one piece of the same clip."""
    tell(f"the clip of {seconds} s")
    clip = sources.clip(seconds)
    plan = planned(clip).only({MEZZANINE})
    tell("a mezzanine in chunks and in one piece")
    with tempfile.TemporaryDirectory(dir=sources.CACHE) as made:
        folder = Path(made)
        chunks, one = encoded(clip, folder / "one", plan, plan.chunks, 1)
        _chunks, two = encoded(clip, folder / "two", plan, plan.chunks, 2)
        (piece,), whole = encoded(clip, folder / "whole", plan, [(None, None)], 1)
        _pieces, halves = encoded(clip, folder / "halves", plan, _halves(plan), 2)
        join(chunks, None, folder / "chunked.mp4", plan.origin)
        join([piece], None, folder / "whole.mp4", plan.origin)
        size = (folder / "chunked.mp4").stat().st_size / (folder / "whole.mp4").stat().st_size
    what = f"{seconds} s 1080p clip"
    return [
        Row(f"{what} in {len(plan.chunks)} chunks: size of the mezzanine, of one piece's", size, 1.01),
        # two encodes at once share memory and clock, so that a second core does not halve their time either
        Row(
            f"{what}, 2 workers of 1's wall time, of two independent encodes' the same",
            two / one / (halves / whole),
            1.05,
        ),
    ]


def _halves(plan: RenderPlan) -> list[Range]:
    middle = min(plan.borders, key=lambda pts: abs(plan.seconds(pts) - plan.duration / 2))
    return [(None, middle), (middle, None)]


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
