"""The sink of events of use, and of the windows that are due: events first, then what is computed from them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from sinks.delta import DeltaSink, waited

_STEP, _ROWS = "events", "rows"
_log = structlog.get_logger()


class Window(NamedTuple):
    """A tenant's window of event time, by its start in ms since 1970."""

    tenant: str
    start_ms: int


class Due(NamedTuple):
    """A window that is to be computed, and why: closed, late or start."""

    window: Window
    why: str


Item = dict[str, Any] | Due
Compute = Callable[[Mapping[Window, str]], None]


class _UsagePartition(StatefulSinkPartition[Item, None]):
    def __init__(self, sink: UsageSink, due: dict[Window, str]) -> None:
        self._sink, self._due = sink, due
        self._events = sink.events.build_part(_STEP, _ROWS, None)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="usage")
        self._raised = False
        self._compute()

    def write_batch(self, values: list[Item]) -> None:
        with self._guarded():
            self._events.write_batch([item for item in values if not isinstance(item, Due)])
            self._due |= {item.window: item.why for item in values if isinstance(item, Due)}

    def snapshot(self) -> None:
        with self._guarded():
            self._events.snapshot()
            self._compute()

    def _compute(self) -> None:
        due, self._due = self._due, {}
        if due:
            waited(self._thread.submit(self._sink.compute, due), self._sink.meanwhile)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """An error here ends the flow and then calls close(); of a cluster's the engine says nothing."""
        try:
            yield
        except BaseException as error:
            self._raised = True
            _log.error("usage_sink_failed", error=repr(error))
            raise

    def close(self) -> None:
        self._events.close()
        if not self._raised:
            self._compute()
        self._thread.shutdown(wait=True)


@dataclass
class UsageSink(FixedPartitionedSink[Item, None]):
    """Events of use, each once in their table, and the windows that are due computed from the table after them.

    Items are (tenant, row) and (tenant, Due). Each process of a cluster has one partition, and a tenant is always the
    same one's, so that no other process computes its windows. An epoch ends only once its events are in the table
    (`events` has a `meanwhile`) and its windows are computed. Windows that a process before has left behind, `stale`
    tells them, are computed at the start. So nothing is lost with a process, and there is nothing to recover.
    """

    events: DeltaSink
    compute: Compute
    stale: Callable[[], set[Window]]
    meanwhile: Callable[[], None]
    process: int
    processes: int

    def list_parts(self) -> list[str]:
        """The partition of this process."""
        return [f"{self.process:04d}"]

    def part_fn(self, item_key: str) -> int:
        """The partition of a tenant, which the engine takes modulo their number."""
        return crc32(item_key.encode())

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _UsagePartition:
        """Opens the table, and computes what was left behind of the partition's tenants. There is nothing to resume."""
        mine = {w for w in self.stale() if self.part_fn(w.tenant) % self.processes == self.process}
        return _UsagePartition(self, dict.fromkeys(mine, "start"))
