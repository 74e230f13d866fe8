"""Which windows of use are due, by Bytewax's own windowing: closed by event time, or late events have come to them.

The state is small: the tenants that have events in each open window. It is lost with its process, and a start finds
what it was about in the tables (dataflows.usage_windows).
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream
from bytewax.operators.windowing import UTC_MAX, Clock, ClockLogic, SystemClock, TumblingWindower, WindowOut

from schemas import metrics
from schemas.ids import shard_of
from schemas.settings import Settings
from sinks.usage import Due, Window

# tenants may be many, and Bytewax keeps a clock and a schedule for each key
_SHARDS = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Seen = tuple[datetime, Window]
Windows = set[Window]


class EventTime(Clock[Seen, None]):
    """The watermark of a process: the newest event's time, less the lateness, plus the time since it came.

    Bytewax's own EventClock forgets a key's when the key has no open window, so that a late event is no longer late;
    and it wakes a window at its end by the wall clock, again and again until the watermark is there, which is a busy
    loop for as long as the lateness. An event that says it is of the future counts as one of now: it would make all
    others late.
    """

    def __init__(self, lateness: timedelta) -> None:
        self._lateness, self._lock = lateness, threading.Lock()
        self._now, self._behind = _EPOCH, timedelta.max

    def build(self, resume_state: None) -> _Logic:
        """The one clock for each key."""
        return _Logic(self)

    def now(self) -> datetime:
        """The system's time, which never goes back."""
        with self._lock:
            self._now = max(self._now, datetime.now(UTC))
            return self._now

    def saw(self, at: datetime) -> tuple[datetime, datetime]:
        """The time of an event and the watermark after it."""
        now = self.now()
        at = min(at, now)
        with self._lock:
            self._behind = min(self._behind, now - at + self._lateness)
            return at, self._now - self._behind

    def watermark(self) -> datetime:
        """Before any event it is the beginning of time."""
        now = self.now()
        with self._lock:
            return now - self._behind if self._behind < timedelta.max else _EPOCH

    def at(self, time: datetime) -> datetime:
        """When the watermark will be there if no event comes."""
        with self._lock:
            return time + self._behind


class _Logic(ClockLogic[Seen, None]):
    def __init__(self, clock: EventTime) -> None:
        self._clock = clock

    def before_batch(self) -> None:
        pass

    def on_item(self, value: Seen) -> tuple[datetime, datetime]:
        return self._clock.saw(value[0])

    def on_notify(self) -> datetime:
        return self._clock.watermark()

    def on_eof(self) -> datetime:
        return UTC_MAX  # nothing is kept for a next run: all windows close

    def to_system_utc(self, timestamp: datetime) -> datetime:
        return self._clock.at(timestamp)

    def snapshot(self) -> None:
        return None


@operator
def due_windows(step_id: str, up: KeyedStream[dict[str, Any]], settings: Settings) -> KeyedStream[Due]:
    """The windows of events' rows that are to be computed, by tenant; of late events gathered for a while."""
    length, length_ms = timedelta(seconds=settings.usage_window_s), settings.usage_window_s * 1000
    clock = EventTime(timedelta(seconds=settings.usage_lateness_s))
    refresh = timedelta(seconds=settings.usage_refresh_s)

    def sharded(items: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, Seen]]:
        return [(shard_of(tenant, _SHARDS), _seen(tenant, row["at_ms"], length_ms)) for tenant, row in items]

    shards = op.flat_map_batch("shard", up, sharded)
    windows = _folded("windows", shards, clock, length)
    late = op.map_value("late_seen", windows.late, _late)
    gathered = _folded("late", late, SystemClock(), refresh)
    closed = op.flat_map("closed", windows.down, lambda item: _due(item[1][1], "closed"))
    return op.merge("due", closed, op.flat_map("again", gathered.down, lambda item: _due(item[1][1], "late")))


def _seen(tenant: str, at_ms: int, length_ms: int) -> Seen:
    return _EPOCH + timedelta(milliseconds=at_ms), Window(tenant, at_ms // length_ms * length_ms)


def _folded(name: str, up: KeyedStream[Seen], clock: Clock[Seen, Any], length: timedelta) -> WindowOut[Seen, Windows]:
    def added(windows: Windows, seen: Seen) -> Windows:
        windows.add(seen[1])
        return windows

    def joined(one: Windows, other: Windows) -> Windows:
        return one | other

    return win.fold_window(name, up, clock, TumblingWindower(length, _EPOCH), Windows, added, joined, ordered=False)


def _late(item: tuple[int, Seen]) -> Seen:
    metrics.USAGE_LATE.inc()
    return item[1]


def _due(windows: Windows, why: str) -> list[tuple[str, Due]]:
    return [(window.tenant, Due(window, why)) for window in windows]
