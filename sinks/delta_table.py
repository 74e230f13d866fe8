"""One Delta Lake table: its layout, how it is made, and how rows come into it once, beside other writers.

The layout is chosen from `bench.tables` (a million rows on S3: 63 ms to an asset's rows by its ingest times, 207 ms by
its id alone, 47 ms to look up a batch's row ids, 39 ms an append). No partitions: row ids begin with the ingest time,
and rows come in its order, so that the log's statistics on `row_id` skip files and the footers' skip row groups;
partitions by day or by a hash make appends dearer and readings no faster. Of other columns the log has no statistics:
none is in any order, and a deleted asset's values must not stay there.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet
from itertools import chain, pairwise, repeat
from typing import TypeVar
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import structlog
from deltalake import CommitProperties, DeltaTable, Schema, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, SchemaMismatchError
from polars.exceptions import PolarsError

from schemas import metrics
from schemas.errors import AssetError

ROW_ID = "row_id"
WRITER = WriterProperties(compression="ZSTD", max_row_group_size=50_000)
FILE_BYTES = 32 * 2**20
COMPACT_EVERY = 50
CONFIGURATION = {"delta.dataSkippingNumIndexedCols": "1", "delta.checkpointInterval": "50"}
# Only the very next version will do. By itself the library would take another one after a conflict, also where the
# commit that it met is its own, whose answer was lost.
_NEXT_VERSION = CommitProperties(max_commit_retries=0)
PASSING = (OSError, DeltaError, PolarsError, AssetError)
_FIRST_WAIT_S, _LAST_WAIT_S = 0.1, 5.0
_CONFLICTS_S = 60.0
# how far the clocks of processes may differ
_CLOCKS_MS = 10_000
_GAP_MS, _MOST_SPANS = 3_600_000, 8
_ERROR = 500
_log = structlog.get_logger()
T = TypeVar("T")


def open_table(uri: str, schema: pa.Schema, options: dict[str, str] | None = None) -> DeltaTable:
    """The table, created if it is not there, with all of these columns; several processes may do so at once.

    All columns may be null: the rows of writers that do not know a column yet have none.
    """
    schema = pa.schema([field.with_nullable(True) for field in schema])
    try:
        table = DeltaTable.create(
            uri, schema=schema, mode="ignore", storage_options=options, configuration=CONFIGURATION
        )
    except DeltaError:  # another process was first; if not, the next line raises with this error as its context
        table = DeltaTable(uri, storage_options=options)
    _widen(table, schema)
    return table


def _widen(table: DeltaTable, schema: pa.Schema) -> None:
    """Adds the columns that the table lacks."""
    while missing := [field for field in schema if field.name not in columns_of(table)]:
        try:
            table.alter.add_columns(Schema.from_arrow(pa.schema(missing)).fields)
        except CommitFailedError:  # another process widened it
            table.update_incremental()


def columns_of(table: DeltaTable) -> list[str]:
    """The names of the table's columns, in order."""
    return [field.name for field in table.schema().fields]


def small_files(table: DeltaTable, file_bytes: int = FILE_BYTES) -> int:
    """How many files of the table `compact` would join."""
    sizes = pa.table(table.get_add_actions())["size_bytes"]
    return int(pc.sum(pc.less(sizes, file_bytes)).as_py() or 0)


def compact(table: DeltaTable, file_bytes: int = FILE_BYTES) -> None:
    """Joins small files, unless another process does at the same time; the rows stay as they are.

    Of two compactions of the same files the library (1.6.6) takes both, and every row is there twice. But none that
    began before a change of the table's metadata: so each begins with one, and of two that overlap one fails.
    """
    if small_files(table, file_bytes) < 2:
        return
    with contextlib.suppress(CommitFailedError):
        table.alter.set_table_description(f"compaction {uuid4()}")
        table.optimize.compact(target_size=file_bytes, max_concurrent_tasks=1, writer_properties=WRITER)


def soon() -> str:
    """A row id above all of this moment, by the clock of any process."""
    return f"{time.time_ns() // 1_000_000 + _CLOCKS_MS:013d}"


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


def spans(row_ids: Collection[str]) -> list[tuple[str, str]]:
    """A few ranges (least, greatest) that hold these ids, and little else: split where an hour lies between two."""
    ids = sorted(row_ids)
    cuts = [i for i, (a, b) in enumerate(pairwise(ids), 1) if int(b[:13]) - int(a[:13]) > _GAP_MS]
    starts = [0, *cuts] if len(cuts) < _MOST_SPANS else [0]
    return [(ids[a], ids[b - 1]) for a, b in pairwise([*starts, len(ids)])]


def patiently(work: Callable[[], T], name: str, patience_s: float, ends: Callable[[], float] = lambda: math.inf) -> T:
    """What the work on a table returns, tried again while the table cannot be reached, for `patience_s` seconds.

    At the time `ends` at the latest; while other writers are faster for a minute at least.
    """
    started, wait_s = time.monotonic(), _FIRST_WAIT_S
    while True:
        try:
            return work()
        except (CommitFailedError, FileNotFoundError):  # a deletion takes files away that the version in hand names
            if time.monotonic() > started + max(patience_s, _CONFLICTS_S):
                raise
            time.sleep(random.uniform(0, _FIRST_WAIT_S))
        except SchemaMismatchError:
            raise
        except PASSING as error:
            if time.monotonic() + wait_s > min(started + patience_s, ends()):
                raise
            _log.warning("delta_append_waits", table=name, error=repr(error)[:_ERROR])
            metrics.SINK_RETRIES.labels(name).inc()
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LAST_WAIT_S)


def replace(table: DeltaTable, rows: pa.Table, predicate: str) -> None:
    """Puts the rows in the place of all that the predicate (SQL) names, as the next version of the table in hand.

    Raises CommitFailedError where another writer was faster.
    """
    write_deltalake(
        table, rows, mode="overwrite", predicate=predicate, writer_properties=WRITER, commit_properties=_NEXT_VERSION
    )
    keep_small(table)


def keep_small(table: DeltaTable, every: int = COMPACT_EVERY) -> None:
    """Joins the table's small files, where its version in hand is one of every so many.

    A version is one writer's alone, so it is one process that compacts; if it fails, the next one does.
    """
    if table.version() % every:
        return
    try:
        compact(table)
    except PASSING as error:
        _log.warning("delta_compaction_failed", table=table.table_uri, error=repr(error)[:_ERROR])


class Appender:
    """Appends rows to one table, on the one thread that calls it; it keeps the table's handle.

    An append is tried again while the table cannot be reached, for `patience_s` seconds, and for a minute at least
    while other writers are faster. Every try but the first looks whether the one before has come through after all,
    and the table's next version is taken by one writer only: so an append that failed late doubles nothing.
    Every `compact_every` versions the writer whose commit it was joins the small files.
    """

    def __init__(
        self,
        table: DeltaTable,
        patience_s: float = 0.0,
        compact_every: int = COMPACT_EVERY,
        wanted: Callable[[pa.Table], pa.Table] = lambda rows: rows,
    ) -> None:
        self._table, self._patience_s, self._compact_every, self._wanted = table, patience_s, compact_every, wanted
        self._ends = math.inf
        self.name = table.table_uri.rstrip("/").rpartition("/")[2]

    def floor(self) -> str:
        """A row id above all that another process may have written, or may be about to, of the assets of this one."""
        return max(self._newest_id(), soon())

    def _newest_id(self) -> str:
        """At or above the greatest row id in the table, from the files' statistics."""
        greatest = pa.table(self._table.get_add_actions(flatten=True))
        if not greatest.num_rows:
            return ""
        if f"max.{ROW_ID}" not in greatest.column_names or greatest[f"max.{ROW_ID}"].null_count:
            return "~"  # a file without statistics: any id may be in it
        return str(pc.max(greatest[f"max.{ROW_ID}"]).as_py())

    def append(self, rows: pa.Table, doubtful: AbstractSet[str]) -> None:
        """Appends the rows, less those of the doubtful ones that the table has."""
        every = set(rows[ROW_ID].to_pylist())
        tries = chain([doubtful], repeat(every))
        patiently(lambda: self._append(rows, next(tries)), self.name, self._patience_s, lambda: self._ends)

    def end(self, within_s: float) -> None:
        """From now on no append waits longer than this for a table that cannot be reached."""
        self._ends = time.monotonic() + within_s

    def _append(self, rows: pa.Table, doubtful: AbstractSet[str]) -> None:
        self._table.update_incremental()
        rows = self._wanted(rows)
        if known := self.known(doubtful):
            rows = rows.filter(pc.invert(pc.is_in(rows[ROW_ID], pa.array(known))))
        if rows.num_rows:
            self._write(rows)
            keep_small(self._table, self._compact_every)
            metrics.TABLE_FILES.labels(self.name).set(small_files(self._table))

    def known(self, row_ids: AbstractSet[str]) -> list[str]:
        """Those of the ids that the version in hand has."""
        if not row_ids:
            return []
        row_id = pl.col(ROW_ID)
        near = pl.any_horizontal(row_id.is_between(pl.lit(least), pl.lit(most)) for least, most in spans(row_ids))
        wanted = near & row_id.is_in(sorted(row_ids))
        return pl.scan_delta(self._table).filter(wanted).select(ROW_ID).collect()[ROW_ID].to_list()

    def _write(self, rows: pa.Table) -> None:
        # a table that knows more columns takes the rows with none there
        narrow = set(columns_of(self._table)) - set(rows.column_names)
        write_deltalake(
            self._table, rows, mode="append", schema_mode="merge" if narrow else None, writer_properties=WRITER,
            commit_properties=_NEXT_VERSION,
        )  # fmt: skip

    def files(self) -> int:
        """How many files the table has."""
        return len(self._table.file_uris())
