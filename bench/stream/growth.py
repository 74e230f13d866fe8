"""What a million assets behind it change for the intake: its cost an asset, its epochs' ends and its restart."""

from __future__ import annotations

from statistics import median, quantiles

from bench.stream.rows import Row
from bench.stream.throughput import measured, ours
from schemas.settings import Settings

STALL_EPOCH_S = 0.25
_WINDOWS = 10


def rows(settings: Settings, count: int, more: int) -> list[Row]:
    """`count` assets with epochs of 10 s, then a restart from their store, and `more` with many short epochs."""
    store = str(settings.below("growth"))
    grown = ours(settings, count, store=store)
    again = measured("ours", settings, more, store=store, epoch_s=STALL_EPOCH_S)
    cpu_us = grown["cpu_us_windows"]
    some = max(1, min(_WINDOWS, len(cpu_us) // 3))
    first, last = median(cpu_us[:some]), median(cpu_us[-some:])
    return [
        Row.figure(f"stall at the end of an epoch after {count:,} assets, p99: ms", p99(again["stalls_ms"]), 50),
        Row.figure(f"restart after {count:,} assets, from its first line to the first event: s", again["start_s"], 2),
        Row(f"the last of {count:,} assets against the first: CPU us an asset", last, first, last / first, 1.1, True),
    ]


def p99(found: list[float]) -> float:
    """The 99th percentile, of few figures the greatest."""
    return quantiles(found, n=100, method="inclusive")[98]
