"""Delta Lake tables that every row reaches once, and helpers to read and compact them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

Row = dict[str, Any]
ROW_ID = "row_id"
_TRIES = 5
_log = structlog.get_logger()


def open_table(uri: str, schema: pa.Schema, options: dict[str, str] | None = None) -> DeltaTable:
    """The table, created if it is not there; several processes may do so at once."""
    try:
        return DeltaTable.create(uri, schema=schema, mode="ignore", storage_options=options)
    except DeltaError:  # another process was first; if not, the next line raises with this error as its context
        return DeltaTable(uri, storage_options=options)


def read_table(uri: str, options: dict[str, str] | None = None) -> pa.Table:
    """All rows of the table's newest version."""
    return DeltaTable(uri, storage_options=options).to_pyarrow_table()


def compact(uri: str, options: dict[str, str] | None = None) -> None:
    """Joins small files, unless another process does so at the same time; the rows stay as they are."""
    with contextlib.suppress(CommitFailedError):
        DeltaTable(uri, storage_options=options).optimize.compact()


class RecentIds:
    """The newest row ids, in two generations of at most `size` each.

    An id above `floor` that is not remembered is new; one at or below it may be in the table.
    """

    def __init__(self, size: int, floor: str) -> None:
        self._size, self._floor = size, floor
        self._new: set[str] = set()
        self._old: set[str] = set()

    def add(self, row_id: str) -> bool:
        """Remembers an id; False if it was remembered already."""
        if row_id in self._new or row_id in self._old:
            return False
        if len(self._new) >= self._size:
            self._floor = max(self._floor, max(self._old, default=""))
            self._old, self._new = self._new, set()
        self._new.add(row_id)
        return True

    def doubtful(self, row_id: str) -> bool:
        """Whether the table may have the id from before what is remembered."""
        return row_id <= self._floor


class Appender:
    """Appends rows to one table, on the one thread that calls it; it keeps the table's handle."""

    def __init__(self, table: DeltaTable, schema: pa.Schema) -> None:
        self._table, self._schema = table, schema

    def newest_id(self) -> str:
        """At or above the greatest row id in the table, from the files' statistics."""
        greatest = pa.table(self._table.get_add_actions(flatten=True))
        if not greatest.num_rows:
            return ""
        if f"max.{ROW_ID}" not in greatest.column_names or greatest[f"max.{ROW_ID}"].null_count:
            return "~"  # a file without statistics: any id may be in it
        return str(pc.max(greatest[f"max.{ROW_ID}"]).as_py())

    def append(self, rows: dict[str, Row], doubtful: set[str]) -> None:
        """Appends the rows, less those of the doubtful ones that the table has."""
        for tries_left in reversed(range(_TRIES)):
            missing = self._missing(rows, doubtful)
            try:
                return self._write(missing)
            except CommitFailedError:
                if not tries_left:
                    raise
                doubtful = set(rows)  # the failed commit may be there all the same

    def _missing(self, rows: dict[str, Row], doubtful: set[str]) -> list[Row]:
        known = self._known(doubtful) if doubtful else set()
        return [row for row_id, row in rows.items() if row_id not in known]

    def _known(self, ids: set[str]) -> set[str]:
        self._table.update_incremental()
        wanted = pc.field(ROW_ID).isin(sorted(ids))
        found = self._table.to_pyarrow_dataset().to_table(columns=[ROW_ID], filter=wanted)
        return set(found[ROW_ID].to_pylist())

    def _write(self, rows: Sequence[Row]) -> None:
        if rows:
            write_deltalake(self._table, pa.Table.from_pylist(rows, schema=self._schema), mode="append")

    def files(self) -> int:
        """How many files the table has."""
        return len(self._table.file_uris())


def _to_ipc(rows: Iterable[Row], schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(pa.Table.from_pylist(list(rows), schema=schema))
    return sink.getvalue().to_pybytes()


class _DeltaPartition(StatefulSinkPartition[Row, bytes]):
    def __init__(self, sink: DeltaSink, resume: bytes | None) -> None:
        self._sink = sink
        self._appender = sink.appender()
        self._recent = RecentIds(sink.remembered, self._appender.newest_id())
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}  # not yet known to be in the table
        self._doubtful: set[str] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="delta")
        self._appending: Future[None] | None = None
        self._failed = False
        if resume:
            self.write_batch(pa.ipc.open_stream(resume).read_all().to_pylist())
            self._start()

    def write_batch(self, values: list[Row]) -> None:
        with self._guarded():
            self._check()
            with self._lock:
                for row in values:
                    if not self._sink.drop(row):
                        self._add(row[ROW_ID], row)

    def _add(self, row_id: str, row: Row) -> None:
        if self._recent.add(row_id):
            self._rows[row_id] = row
            if self._recent.doubtful(row_id):
                self._doubtful.add(row_id)

    def snapshot(self) -> bytes:
        with self._guarded():
            self._check()
            self._start()
            with self._lock:
                rows = list(self._rows.values())
            return _to_ipc(rows, self._sink.schema)

    def _start(self) -> None:
        """Has the thread append what waits, once it is done with what it was given before."""
        self._appending = self._thread.submit(self._append)
        self._appending.add_done_callback(self._log_failure)

    def _append(self) -> None:
        with self._lock:
            rows, doubtful = dict(self._rows), set(self._doubtful)
        self._appender.append(rows, doubtful)
        with self._lock:
            for row_id in rows:
                del self._rows[row_id]
            self._doubtful &= self._rows.keys()

    def _log_failure(self, appending: Future[None]) -> None:
        if error := appending.exception():
            _log.error("delta_append_failed", table=self._sink.uri, error=repr(error))

    def _check(self) -> None:
        if self._appending and self._appending.done() and (error := self._appending.exception()):
            raise error

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """An error here ends the flow and then calls close(), where a second one would abort the process."""
        try:
            yield
        except BaseException:
            self._failed = True
            raise

    def close(self) -> None:
        if not self._failed:
            self._start()
        self._thread.shutdown(wait=True)
        if not self._failed:
            self._check()
            if self._appender.files() > self._sink.compact_above:
                compact(self._sink.uri, self._sink.options)


@dataclass
class DeltaSink(FixedPartitionedSink[Row, bytes]):
    """Every row once in a Delta Lake table, if a row seen again has its `row_id` again (schemas.ids.row_id).

    A row whose id the table has is dropped, and a row not yet known to be in the table is in the snapshot; so
    a crash, a replay of any length, a lost recovery store and a rescale all come down to a row seen again. It
    holds while at most one process at a time writes the same rows; two tables need two sinks. Rows are in the
    table soon after the epoch closes, and all of them when the flow ends; an append that fails ends the flow.

    Items are (key, row). `remembered` bounds the ids in memory (twice that many); older ids are looked up in
    the table, whose file statistics on `row_id`, the first column, find them. Rows that `drop` says so of are left
    out, also those that a snapshot brings back. At the flow's end a table of
    more than `compact_above` files is compacted.
    """

    uri: str
    schema: pa.Schema
    options: dict[str, str] | None = None
    remembered: int = 100_000
    compact_above: int = 50
    drop: Callable[[Row], bool] = lambda _row: False
    parts: tuple[str, ...] = field(default=("rows",), init=False)

    def __post_init__(self) -> None:
        if self.schema.names[:1] != [ROW_ID]:
            raise ValueError(f"the first column of {self.uri} must be {ROW_ID}: only leading columns have statistics")

    def appender(self) -> Appender:
        """What appends to the table, which is created if it is not there."""
        return Appender(open_table(self.uri, self.schema, self.options), self.schema)

    def list_parts(self) -> list[str]:
        """The table is one partition: one worker writes it."""
        return list(self.parts)

    def part_fn(self, item_key: str) -> int:
        """Every key belongs to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> _DeltaPartition:
        """Opens the table, and appends what a crash left in the snapshot."""
        return _DeltaPartition(self, resume_state)
