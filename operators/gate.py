"""How many assets may be unfinished at once in this process, and when the process is to stop taking more."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from operators.pulse import Pulse

_LOOK = timedelta(milliseconds=4)
# Long enough for a batch to reach the first stage, where it is counted.
_SETTLE = timedelta(milliseconds=1)
# An item between two stages is in neither: only this many looks without any change mean that all is done.
_QUIET_LOOKS = 8


class Gate:
    """Counts the unfinished assets of a process; shared by its source and all its stages.

    `limit` is the most assets in hand before the source waits: it can be passed by one batch of the source. The pulse
    says whether source and stages still turn.
    """

    def __init__(self, limit: int, pulse: Pulse | None = None) -> None:
        self.limit = limit
        self.pulse = pulse or Pulse()
        self.changes = 0
        self._keys: Counter[str] = Counter()
        self._since: dict[str, float] = {}  # in order
        self._left: list[set[str]] = []
        self._lock = threading.Lock()
        self._drain = threading.Event()

    def enter(self, key: str) -> None:
        """A stage took an item of this asset."""
        with self._lock:
            self._keys[key] += 1
            self._since.setdefault(key, time.monotonic())
            self.changes += 1

    def leave(self, key: str) -> None:
        """A stage is done with an item of this asset."""
        with self._lock:
            self._keys[key] -= 1
            self.changes += 1
            if not self._keys[key]:
                del self._keys[key], self._since[key]
            for left in self._left:
                left.add(key)

    def watch(self) -> set[str]:
        """A set that gets the key of every asset that leaves a stage from now on; its owner empties it."""
        self._left.append(watched := set[str]())
        return watched

    def holds(self) -> set[str]:
        """The keys of the assets that are in some stage."""
        with self._lock:
            return set(self._keys)

    @property
    def unfinished(self) -> int:
        """Assets that are in some stage."""
        return len(self._keys)

    @property
    def oldest_s(self) -> float:
        """How long ago the oldest of them came into a stage, and has been in one since; 0 if there is none."""
        with self._lock:
            return time.monotonic() - next(iter(self._since.values())) if self._since else 0.0

    @property
    def draining(self) -> bool:
        """Whether the process is about to end."""
        return self._drain.is_set()

    def drain(self) -> None:
        """Sources stop, stages leave what they hold in their snapshots; safe in a signal handler."""
        self._drain.set()


class _GatedPartition(StatefulSourcePartition[Any, Any]):
    def __init__(self, inner: StatefulSourcePartition[Any, Any], gate: Gate) -> None:
        self._inner, self._gate = inner, gate
        self._ended = False
        self._quiet, self._changes = 0, -1
        self._awake: datetime | None = None

    def next_batch(self) -> list[Any]:
        self._gate.pulse.beat()
        if self._gate.draining or (self._ended and self._finished()):
            raise StopIteration
        if self._ended or self._gate.unfinished >= self._gate.limit:
            self._awake = datetime.now(UTC) + _LOOK
            return []
        return self._take()

    def _take(self) -> list[Any]:
        settled = datetime.now(UTC) + _SETTLE
        try:
            batch = list(self._inner.next_batch())
        except StopIteration:
            self._ended, self._awake = True, settled
            return []
        self._awake = max(self._inner.next_awake() or settled, settled)
        return batch

    def _finished(self) -> bool:
        same = not self._gate.unfinished and self._changes == self._gate.changes
        self._quiet, self._changes = (self._quiet + 1 if same else 0), self._gate.changes
        return self._quiet >= _QUIET_LOOKS

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> Any:
        return self._inner.snapshot()

    def close(self) -> None:
        self._inner.close()


@dataclass
class GatedSource(FixedPartitionedSource[Any, Any]):
    """A source that waits while the gate is full, and ends only when everything it gave is finished.

    Holding the end back keeps all stages turning: at the end of its input a stage can only wait. Delivery is
    the inner source's. It holds for one process; stages and source must share the gate.
    """

    inner: FixedPartitionedSource[Any, Any]
    gate: Gate

    def list_parts(self) -> list[str]:
        """The inner source's partitions."""
        return self.inner.list_parts()

    def build_part(self, step_id: str, for_part: str, resume_state: Any | None) -> _GatedPartition:
        """The inner source's partition behind the gate."""
        return _GatedPartition(self.inner.build_part(step_id, for_part, resume_state), self.gate)


def gated(source: FixedPartitionedSource[Any, Any], gate: Gate) -> GatedSource:
    """The source behind the gate."""
    return GatedSource(source, gate)
