"""The gauges of a process, read from its runtime when somebody asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from dataflows.health import Health
from dataflows.runtime import Runtime
from dataflows.scaling import advised
from schemas import metrics
from schemas.metrics import Reading

Values = dict[tuple[str, ...], float]


class Readings(Collector):
    """What is so just now."""

    def __init__(self, runtime: Runtime, health: Health, store: Path | None) -> None:
        self._runtime, self._health, self._store = runtime, health, store

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every reading of the catalogue."""
        for reading, values in (*self._flow(), *self._lanes(), *self._source()):
            yield reading.family(values)

    def _flow(self) -> Iterator[tuple[Reading, Values]]:
        gate = self._runtime.gate
        pulse = gate.pulse
        yield metrics.UNFINISHED, {(): gate.unfinished}
        yield metrics.OLDEST, {(): gate.oldest_s}
        yield metrics.AT_WORK, {(stage,): count for stage, count in pulse.at_work().items()}
        yield metrics.STUCK, {(stage,): 1 for stage in pulse.stuck()}
        yield metrics.TURNED, {} if pulse.turned is None else {(): time.monotonic() - pulse.turned}
        yield metrics.READY, {(check,): not why for check, why in self._health.failing.items()}
        yield metrics.TABLE_ROWS, {(name,): table.waiting_rows() for name, table in self._runtime.tables.items()}
        yield metrics.STORE_BYTES, {(): _bytes(self._store)} if self._store else {}

    def _lanes(self) -> Iterator[tuple[Reading, Values]]:
        lanes = self._runtime.pools.lanes()
        yield metrics.LANE_SIZE, {(name,): lane.size for name, lane in lanes.items()}
        yield metrics.LANE_BUSY, {(name,): lane.busy for name, lane in lanes.items()}
        yield metrics.LANE_WAITING, {(name,): lane.waiting for name, lane in lanes.items()}
        yield metrics.LANE_OLDEST, {(name,): lane.oldest_s for name, lane in lanes.items()}

    def _source(self) -> Iterator[tuple[Reading, Values]]:
        feeds = {(feed.topic, str(feed.partition)): feed for feed in self._runtime.feeds}
        yield metrics.SOURCE_LAG, {place: feed.lag for place, feed in feeds.items()}
        yield metrics.SOURCE_CONNECTED, {place: feed.connected for place, feed in feeds.items()}
        yield metrics.ADVISED, {(): self._advised()} if feeds else {}

    def _advised(self) -> int:
        settings, gate = self._runtime.settings, self._runtime.gate
        return advised(
            processes=settings.processes,
            in_hand=gate.unfinished,
            unfinished=sum(feed.lag for feed in self._runtime.feeds),
            oldest_s=gate.oldest_s,
            within_s=settings.finish_within_s,
            partitions=settings.partitions,
        )


def _bytes(folder: Path) -> int:
    """The size of a folder's files, some of which may go meanwhile."""
    sizes = 0
    for path in folder.glob("*"):
        try:
            sizes += path.stat().st_size
        except FileNotFoundError:
            continue
    return sizes
