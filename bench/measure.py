"""What a run costs: wall time, processor time of it and its processes, and what all others burnt meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from statistics import median

import psutil


@dataclass
class Cost:
    """Seconds: `wall`, `cpu` of this process and its descendants, `others` of the rest of the machine (steal too)."""

    wall: float = 0.0
    cpu: float = 0.0
    others: float = 0.0


@dataclass(frozen=True)
class Row:
    """A line of bench.json: what was measured, the ratio (or the figure that is named), and the most it should be."""

    measure: str
    ratio: float
    aim: float


def spent() -> float:
    """Processor seconds of this process and all its descendants, those that have ended and were waited for too."""
    total = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _busy() -> float:
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


@contextmanager
def metered() -> Iterator[Cost]:
    """Fills in the cost of what is done inside."""
    cost, busy, cpu, started = Cost(), _busy(), spent(), time.perf_counter()
    yield cost
    cost.wall = time.perf_counter() - started
    cost.cpu = spent() - cpu
    cost.others = max(0.0, _busy() - busy - cost.cpu)


def of_pairs(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of runs that followed each other: what else the machine did weighs on both alike."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def typical(costs: Sequence[Cost]) -> Cost:
    """The medians of several runs' costs."""
    return Cost(median(c.wall for c in costs), median(c.cpu for c in costs), median(c.others for c in costs))
