"""Memory of an hour of video beside that of a minute: of one worker, and of the whole program with all its workers."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from bench import sources
from bench.chunks import planned
from bench.measure import Row
from operators.media.plan import RenderPlan
from operators.stages.video_tasks import render

Tell = Callable[[str], object]
_SAMPLED_S = 0.25


def of_worker(long_s: int, short_s: int, chunks: int, tell: Tell) -> list[Row]:
    """The peak resident memory of a worker that renders so many chunks of a long 1080p clip, and of a short one."""
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


def of_whole(long_s: int, short_s: int, tell: Tell) -> list[Row]:
    """The peak of `asset-pipeline run` with all its processes, pages that they share counted once.

    On small pictures, so that what grows with a video's length is not hidden behind them. Raises RuntimeError.
    """
    peaks = []
    for seconds in (short_s, long_s):
        tell(f"memory of the whole, {seconds} s")
        peaks.append(whole_mb(sources.small_clip(seconds)))
    short, long = peaks
    return [Row(f"peak memory of the whole, {long_s} s of {short_s} s", long / short, 1.1)]


def whole_mb(clip: Path) -> float:
    """MB at the peak while the program takes the clip from upload to publication. Raises RuntimeError if it fails."""
    with tempfile.TemporaryDirectory(dir=sources.CACHE) as folder, tempfile.TemporaryFile("w+") as said:
        program = Path(sys.executable).with_name("asset-pipeline")
        run = subprocess.Popen([program, "run", clip, "--out", folder], stdout=said, stderr=said)
        peak = max(_sampled(run))
        if run.returncode:
            said.seek(0)
            raise RuntimeError(f"{clip.name}: {said.read()[-2000:]}")
    return peak / 2**20


def _sampled(run: subprocess.Popen[bytes]) -> Iterator[int]:
    """Bytes of the program and its descendants, over and over until it ends."""
    parent = psutil.Process(run.pid)
    while run.poll() is None:
        with suppress(psutil.NoSuchProcess):
            yield sum(_proportional(process) for process in (parent, *parent.children(recursive=True)))
        time.sleep(_SAMPLED_S)


def _proportional(process: psutil.Process) -> int:
    """PSS: of pages that several processes share, each has its part."""
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_full_info().pss)
    return 0
