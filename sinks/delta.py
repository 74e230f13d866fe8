"""A sink to a Delta Lake table that every row reaches once, however often it is seen."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from sinks.delta_table import ROW_ID, Appender, RecentIds, open_table, soon

Row = dict[str, Any]
_ASSET_ID = "asset_id"
_CLOSING_S = 10.0
_SLICE_S = 0.5
_log = structlog.get_logger()


def waited(work: Future[None], meanwhile: Callable[[], None]) -> None:
    """Returns once the work is done, and calls `meanwhile` until then. Raises what the work raises."""
    while not wait([work], _SLICE_S).done:
        meanwhile()
    work.result()


class _DeltaPartition(StatefulSinkPartition[Row, bytes]):
    def __init__(self, sink: DeltaSink, resume: bytes | None) -> None:
        self._sink = sink
        self._appender = sink.appender()
        self._recent = RecentIds(sink.remembered, self._appender.floor())
        self._lock = threading.Lock()
        # not yet known to be in the table: of this epoch, what was handed to the thread, and the ids of both
        self._rows: list[Row] = []
        self._handed: list[pa.Table] = []
        self._waiting: set[str] = set()
        self._doubtful: set[str] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="delta")
        self._appending: Future[None] | None = None
        self._error: BaseException | None = None
        self._raised = False
        if resume:
            self.write_batch(pa.ipc.open_stream(resume).read_all().to_pylist())
            self._start()

    def write_batch(self, values: list[Row]) -> None:
        with self._guarded(), self._lock:
            self._check()
            ahead = soon()
            self._rows += [row for row in values if self._is_new(row[ROW_ID], ahead)]

    def _is_new(self, row_id: str, ahead: str) -> bool:
        """A row of the future may have been written by a process that is no more, and be about to come through."""
        if not self._recent.add(row_id) or row_id in self._waiting:
            return False
        self._waiting.add(row_id)
        if self._recent.doubtful(row_id) or row_id > ahead:
            self._doubtful.add(row_id)
        return True

    def snapshot(self) -> bytes:
        with self._guarded():
            self._check()
            waiting = self._start()
            if self._sink.meanwhile and self._appending:
                waited(self._appending, self._sink.meanwhile)
                self._check()
                waiting = []
            return _to_ipc(waiting, self._sink.schema)

    def waiting(self) -> set[str]:
        """The assets of rows that are not yet known to be in the table."""
        with self._lock:
            rows, handed = list(self._rows), list(self._handed)
        return {row[_ASSET_ID] for row in rows}.union(*(table[_ASSET_ID].unique().to_pylist() for table in handed))

    def waiting_rows(self) -> int:
        """How many they are."""
        with self._lock:
            return len(self._rows) + sum(table.num_rows for table in self._handed)

    def _start(self) -> list[pa.Table]:
        """Has the thread append what waits, once it is done with what it was given before; all that waits."""
        with self._lock:
            if self._rows:
                self._handed.append(pa.Table.from_pylist(self._rows, schema=self._sink.schema))
                self._rows = []
            waiting = list(self._handed)
        if waiting and (self._appending is None or self._appending.running() or self._appending.done()):
            self._appending = self._thread.submit(self._append)
        return waiting

    def _append(self) -> None:
        with self._lock:
            handed = list(self._handed)
        if not handed or self._error:
            return
        rows, started = pa.concat_tables(handed), time.monotonic()
        row_ids = rows[ROW_ID].to_pylist()
        try:
            self._appender.append(rows, self._doubtful.intersection(row_ids))
        except BaseException as error:
            self._error = error
            _log.error("delta_append_failed", table=self._sink.uri, error=repr(error))
            return
        with self._lock:
            del self._handed[: len(handed)]
            self._waiting.difference_update(row_ids)
            self._doubtful.difference_update(row_ids)
        self._sink.appended(rows, time.monotonic() - started)

    def _check(self) -> None:
        if self._error:
            raise self._error

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """An error here ends the flow and then calls close(), where a second one would abort the process."""
        try:
            yield
        except BaseException:
            self._raised = True
            raise

    def close(self) -> None:
        if not self._raised:
            self._appender.end(_CLOSING_S)
            self._start()
        self._thread.shutdown(wait=True)
        if not self._raised:
            self._check()


@dataclass
class DeltaSink(FixedPartitionedSink[Row, bytes]):
    """Every row once in a Delta Lake table, if a row seen again has its `row_id` again (schemas.ids.row_id).

    A row whose id the table has is dropped, and a row not yet known to be in the table is in the snapshot; so
    a crash, a replay of any length, a lost recovery store and a rescale all come down to a row seen again. Several
    processes may write one table at once. It holds while the rows of one asset come from one process at a time, from
    its start on: what another wrote of them before is in the table, or loses the race for the table's next version.
    Two tables need two sinks. Rows are in the table soon after the epoch closes, and all of them when the flow ends.

    While the table cannot be reached rows wait in memory and in the snapshot, for `patience_s` seconds; then, or when
    an append fails for another reason, the flow ends, and its next run appends them. A flow that ends meanwhile gives
    up after ten seconds. With `meanwhile`, which is called again and again until then, an epoch ends only once its rows
    are in the table: so that nothing depends on the snapshot.

    Items are (key, row). `remembered` bounds the ids in memory (twice that many); older ids, and those of assets that
    were accepted before the process started, are looked up in the table, whose file statistics on `row_id`, the first
    column, find them. On the table's own thread, of rows about to be appended only those are that `wanted` returns,
    and `appended` hears of them afterwards, with the seconds that it took.
    """

    uri: str
    schema: pa.Schema
    options: dict[str, str] | None = None
    remembered: int = 100_000
    compact_every: int = 50
    patience_s: float = 0.0
    wanted: Callable[[pa.Table], pa.Table] = lambda rows: rows
    appended: Callable[[pa.Table, float], None] = lambda _rows, _seconds: None
    meanwhile: Callable[[], None] | None = None
    parts: tuple[str, ...] = field(default=("rows",), init=False)

    def __post_init__(self) -> None:
        if self.schema.names[:1] != [ROW_ID]:
            raise ValueError(f"the first column of {self.uri} must be {ROW_ID}: only leading columns have statistics")
        self._built: dict[str, _DeltaPartition] = {}

    def waiting(self) -> set[str]:
        """The assets of which this process has rows that are not in the table yet; from any thread."""
        return set[str]().union(*(partition.waiting() for partition in self._built.values()))

    def waiting_rows(self) -> int:
        """How many rows of this process are not in the table yet; from any thread."""
        return sum(partition.waiting_rows() for partition in self._built.values())

    def appender(self) -> Appender:
        """What appends to the table, which is created if it is not there."""
        table = open_table(self.uri, self.schema, self.options)
        return Appender(table, self.patience_s, self.compact_every, self.wanted)

    def list_parts(self) -> list[str]:
        """The table is one partition: one worker writes it."""
        return list(self.parts)

    def part_fn(self, item_key: str) -> int:
        """Every key belongs to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> _DeltaPartition:
        """Opens the table, and appends what a crash left in the snapshot."""
        self._built[for_part] = _DeltaPartition(self, resume_state)
        return self._built[for_part]


def _to_ipc(tables: Sequence[pa.Table], schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        for table in tables:
            writer.write_table(table)
    return sink.getvalue().to_pybytes()
