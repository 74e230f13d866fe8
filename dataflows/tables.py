"""The Delta tables: read by polars, newest or as they were, kept small, and rid of deleted assets.

They lie in a folder or on S3, and flows may write them meanwhile. Rows are in the order of their assets' ingest times
(see sinks.delta_table): who knows when an asset was accepted says so, and reads a part of one file.
"""

from __future__ import annotations

import random
import time
from collections import ChainMap
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from dataflows.connections import table_options, table_uri
from schemas.arrow import arrow_schema
from schemas.base import Model
from schemas.settings import Settings
from schemas.tables import TABLES, USAGE_TABLES
from schemas.times import time_of
from sinks.delta_table import PASSING, ROW_ID, WRITER, columns_of, compact

ALL_TABLES = ChainMap(USAGE_TABLES, TABLES)
MAINTAINED = ["table", "rows", "bytes", "files_before", "files", "vacuumed", "checkpoint"]
_DISTURBED_S, _WAIT_S = 120.0, 0.2
# a commit is this much later than its files at most; of what is still later, time travel sees the version before
_COMMIT = timedelta(seconds=10)
T = TypeVar("T")


def opened(settings: Settings, name: str, as_of: datetime | None = None) -> DeltaTable | None:
    """A table, newest or as it was; None while it does not exist. Raises ValueError where its log is younger."""
    try:
        table = DeltaTable(table_uri(settings, name), storage_options=table_options(settings))
    except TableNotFoundError:
        return None
    if as_of is not None:
        _go_back(table, as_of)
    return table


def _go_back(table: DeltaTable, as_of: datetime) -> None:
    """Loads the newest version that has no later rows: its commit, whose time the store knows, is later than they."""
    try:
        table.load_as_version(as_of + _COMMIT)
        while _changed(table) > as_of:
            table.load_as_version(table.version() - 1)
    except DeltaError as error:
        raise ValueError(f"{table.table_uri} does not reach back to {as_of.isoformat()}") from error


def _changed(table: DeltaTable) -> datetime:
    """When the youngest of the table's files was written."""
    times = pa.table(table.get_add_actions())["modification_time"]
    return datetime.fromtimestamp((pc.max(times).as_py() or 0) / 1000, UTC)


def moment(settings: Settings, when: str) -> datetime:
    """A time (ISO 8601; UTC unless it says otherwise), or that of a version (a number) of the table `lineage`.

    Raises ValueError for neither, and for a version that is not there.
    """
    if not when.isdigit():
        return time_of(when)
    table = opened(settings, "lineage")
    try:
        if table is None:
            raise ValueError("there is no table `lineage` yet")
        table.load_as_version(int(when))
    except DeltaError as error:
        raise ValueError(f"the table `lineage` has no version {when}") from error
    return _changed(table)


def scan(settings: Settings, name: str, as_of: datetime | None = None) -> pl.LazyFrame:
    """A table's rows, with the model's default where a row is older than the column; none if there is no table."""
    kinds = pl.DataFrame(arrow_schema(ALL_TABLES[name]).empty_table()).schema
    table = opened(settings, name, as_of)
    if table is None:
        return pl.LazyFrame(schema=kinds)
    known, defaults = columns_of(table), _defaults(ALL_TABLES[name])
    frame = pl.scan_delta(table).with_columns(pl.lit(None, kinds[c]).alias(c) for c in kinds if c not in known)
    return frame.with_columns(pl.col(c).fill_null(pl.lit(value, kinds[c])) for c, value in defaults.items())


def _defaults(model: type[Model]) -> dict[str, Any]:
    fields = {name: field for name, field in model.model_fields.items() if not field.is_required()}
    values = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    return {name: value for name, value in values.items() if value is not None}


def accepted_at(times: Collection[int]) -> pl.Expr:
    """Rows of assets that were accepted at one of these times, in ms since 1970."""
    row_id = pl.col(ROW_ID)
    return reduce(or_, [(row_id >= f"{t:013d}") & (row_id < f"{t + 1:013d}") for t in times])


def accepted_since(ms: int) -> pl.Expr:
    """Rows of assets that were accepted then or later, in ms since 1970."""
    return pl.col(ROW_ID) >= f"{ms:013d}"


def maintain(settings: Settings) -> list[dict[str, Any]]:
    """Joins small files, removes what is older than the vacuum retention, writes checkpoints; safe beside writers."""
    found = {name: opened(settings, name) for name in ALL_TABLES}
    return [{"table": name, **_maintain(table, settings.vacuum_h)} for name, table in found.items() if table]


def _maintain(table: DeltaTable, vacuum_h: int) -> dict[str, Any]:
    before = len(table.file_uris())
    compact(table)
    # "full" also finds what killed writers left; a running write is much younger than the least retention, a day
    vacuumed = _undisturbed(table, lambda: _vacuum(table, vacuum_h, full=True))
    table.create_checkpoint()
    table.cleanup_metadata()
    files = pa.table(table.get_add_actions())
    return {
        "rows": pc.sum(files["num_records"]).as_py() or 0, "bytes": pc.sum(files["size_bytes"]).as_py() or 0,
        "files_before": before, "files": files.num_rows, "vacuumed": len(vacuumed), "checkpoint": table.version(),
    }  # fmt: skip


def _vacuum(table: DeltaTable, hours: int, full: bool = False) -> list[str]:
    return table.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=full)


def _undisturbed(table: DeltaTable, work: Callable[[], T]) -> T:
    """What the work on the newest version returns, once no other process is in its way; two minutes long."""
    until = time.monotonic() + _DISTURBED_S
    while True:
        try:
            table.update_incremental()
            return work()
        except PASSING:
            if time.monotonic() > until:
                raise
        time.sleep(random.uniform(0, _WAIT_S))


def drop_rows(settings: Settings, name: str, asset_id: str) -> int:
    """Deletes the asset's rows from a table, with all files that still hold them; how many rows there were.

    Only files with its rows are written anew. A writer that is faster is no harm: what it appends stays, and if it
    touched the same files, this starts again. Time travel ends here, for the older files are removed.
    """
    table = opened(settings, name)
    if table is None:
        return 0
    count = _undisturbed(table, lambda: _overwrite_without(table, asset_id))
    _undisturbed(table, lambda: _vacuum(table, 0))
    return count


def _overwrite_without(table: DeltaTable, asset_id: str) -> int:
    """`DeltaTable.delete` would do the same, and leave string views, which pyarrow cannot compare with strings.

    The log tells what was deleted, so it is told row ids, which say nothing of the asset.
    """
    mine = pl.scan_delta(table).filter(pl.col("asset_id") == asset_id)
    if row_ids := mine.select(ROW_ID).collect()[ROW_ID].to_list():
        nothing = pa.schema(table.schema()).empty_table()
        ids = ", ".join(f"'{row_id}'" for row_id in row_ids)
        write_deltalake(table, nothing, mode="overwrite", predicate=f"{ROW_ID} IN ({ids})", writer_properties=WRITER)
    return len(row_ids)
