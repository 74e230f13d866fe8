"""Memory of an hour of video beside that of a minute: of one worker, and of the whole program with all its workers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import psutil

from bench import sources
from bench.chunks import encoded, planned
from bench.measure import Row

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
    """The largest of the workers that render all outputs of some of the clip's chunks, first and last among them."""
    plan = planned(clip)
    last = len(plan.chunks) - 1
    places = sorted({round(n * last / max(1, chunks - 1)) for n in range(chunks)})
    with tempfile.TemporaryDirectory(dir=sources.CACHE) as folder, _peaks() as peaks:
        encoded(clip, Path(folder), plan, [plan.chunks[place] for place in places], 1)
    return max(peaks.values()) / 1024


@contextmanager
def _peaks() -> Iterator[dict[int, int]]:
    """The peaks of resident memory (kB) by descendant of this process, as the kernel keeps them, while others run."""
    peaks, over, me = dict[int, int](), Event(), psutil.Process()

    def watch() -> None:
        while not over.wait(_SAMPLED_S / 5):
            for process in me.children(recursive=True):
                peaks[process.pid] = max(peaks.get(process.pid, 0), _high(process.pid))

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        over.set()
        watcher.join()


def _high(pid: int) -> int:
    """VmHWM in kB, 0 where the process has ended."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
    return 0


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
