"""Our side: the intake of the flow `ingest`, and its status events. Run as a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import bytewax.operators as op
import s3fs  # noqa: F401 - by the client of objects when it is first made, which is not the start that is measured
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main

from bench.stream.side import Given, Meter, main
from bench.stream.work import record, told
from dataflows.intake import submissions
from dataflows.runtime import Runtime
from schemas.events import StatusChanged
from schemas.messages import Message, Record
from schemas.settings import Settings
from schemas.structs import Received
from schemas.topics import STATUS, Topic
from sources.feed import Feed
from sources.pulled import PulledSource

_WINDOW = 10_000


@dataclass
class _Watch:
    """For how many milliseconds the flow stood still at an epoch's end: from its last write to the next pull."""

    wrote_s: float = 0.0
    stalls_ms: list[float] = field(default_factory=list)

    def wrote(self) -> None:
        self.wrote_s = time.perf_counter()

    def pulled(self) -> None:
        self.stalls_ms.append(1000 * (time.perf_counter() - self.wrote_s))


class _WatchedFeed:
    """A feed that tells of the first pull after each epoch's end."""

    def __init__(self, open_feed: Callable[[], Feed], watch: _Watch) -> None:
        self._feed, self._watch, self._closed = open_feed(), watch, False
        self.start, self.finished = self._feed.start, self._feed.finished
        self.retry, self.close = self._feed.retry, self._feed.close

    @property
    def position(self) -> int | None:
        return self._feed.position

    def pull(self) -> list[Message]:
        if self._closed:
            self._watch.pulled()
            self._closed = False
        return self._feed.pull()

    def committed(self, offset: int) -> None:
        self._closed = True
        self._feed.committed(offset)


class _WatchedRuntime(Runtime):
    """A runtime whose feeds are watched."""

    def __init__(self, settings: Settings, store: Path | None) -> None:
        super().__init__(settings, "ingest", store)
        self.watch = _Watch()

    def topic(self, topic: Topic) -> PulledSource:
        source = super().topic(topic)
        feeds = {part: partial(_WatchedFeed, open_feed, self.watch) for part, open_feed in source.feeds.items()}
        return replace(source, feeds=feeds)


def flow_of(runtime: _WatchedRuntime, meter: Meter) -> Dataflow:
    """From the ingest topic to the status topic; it drains once the meter has counted all."""
    windows = meter.more.setdefault("cpu_us_windows", [])
    before = 0.0

    def begin(batch: list[tuple[str, Received]]) -> list[tuple[str, Any]]:
        nonlocal before
        before = before or time.process_time()
        if meter.passed(len(batch)):
            runtime.gate.drain()
        if meter.seen // _WINDOW > len(windows):
            windows.append(1e6 * (time.process_time() - before) / _WINDOW)
            before = time.process_time()
        return [(key, told(event)) for key, event in batch]

    def encoded(events: list[StatusChanged]) -> Iterator[Record]:
        yield from map(record, events)
        runtime.watch.wrote()

    flow = Dataflow("ingest")
    submitted = submissions(flow, runtime)
    op.inspect("unreadable", submitted.errs, _raise)
    events = op.flat_map_batch("begin", submitted.oks, begin)
    op.output("status", events, runtime.sink([STATUS], encoded))
    return flow


def _raise(_step: str, ending: Any) -> None:
    raise RuntimeError(f"an event could not be read: {ending}")


def run(settings: Settings, given: Given, meter: Meter) -> None:
    """With a recovery store where one is given, and its epochs."""
    started = time.time()
    store = Path(given["store"], str(settings.process)) if given["store"] else None
    runtime = _WatchedRuntime(settings, store)
    flow, epoch = flow_of(runtime, meter), timedelta(seconds=given["epoch_s"])
    cli_main(flow, epoch_interval=epoch, recovery_config=RecoveryConfig(str(store)) if store else None)
    meter.more |= {"start_s": meter.first_s - started, "stalls_ms": runtime.watch.stalls_ms}


if __name__ == "__main__":
    main(run)
