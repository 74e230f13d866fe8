"""`python -m bench.tables`: a million lineage rows on S3, in several layouts: what writing and reading them takes."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal
from uuid import UUID

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, WriterProperties, write_deltalake
from rich.console import Console
from rich.table import Table

from bench.stream.place import place
from dataflows import tables
from dataflows.connections import table_options, table_uri
from schemas import ids
from schemas.arrow import arrow_schema
from schemas.settings import Settings
from schemas.tables import LineageRow
from sinks.delta_table import CONFIGURATION, FILE_BYTES, Appender

ROWS, ROWS_AN_ASSET, BATCH, AT_ONCE = 1_000_000, 20, 5_000, 64
FIRST_MS, MONTH_MS = 1_780_000_000_000, 30 * 86_400_000
READS = 9
SCHEMA = arrow_schema(LineageRow)
Part = Callable[[str, str], str]


@dataclass(frozen=True)
class Layout:
    """How rows lie: partitions by a function of row id and asset id, the size of joined files, of row groups, z-order.

    `part` names the partition of an asset by its id where that is known, for then one is read.
    """

    name: str
    part: Part | None = None
    by_asset: bool = False
    file_bytes: int = FILE_BYTES
    group: int = 50_000
    compression: Literal["ZSTD", "SNAPPY"] = "ZSTD"
    z_order: bool = False

    @property
    def writer(self) -> WriterProperties:
        """How files are written."""
        return WriterProperties(compression=self.compression, max_row_group_size=self.group)


LAYOUTS = (
    Layout("ours: no partitions, 32 MiB"),
    Layout("16 MiB", file_bytes=16 * 2**20),
    Layout("64 MiB", file_bytes=64 * 2**20),
    Layout("128 MiB", file_bytes=128 * 2**20),
    Layout("row groups of 20,000", group=20_000),
    Layout("row groups of 1,000,000", group=1_000_000),
    Layout("Snappy", compression="SNAPPY"),
    Layout("by day", part=lambda row_id, _asset: str(int(row_id[:13]) // 86_400_000)),
    Layout("by month", part=lambda row_id, _asset: str((int(row_id[:13]) - FIRST_MS) // MONTH_MS)),
    Layout("by hash, 16", part=lambda _row_id, asset: asset[0], by_asset=True),
    Layout("z-order by asset", z_order=True),
)


def asset(number: int, count: int) -> tuple[str, int]:
    """An asset's id, and when it was accepted: all within a month, in order."""
    return str(UUID(int=random.Random(number).getrandbits(128), version=4)), FIRST_MS + number * MONTH_MS // count


def _rows_of(number: int, count: int) -> Iterator[dict[str, Any]]:
    asset_id, accepted_ms = asset(number, count)
    for n in range(ROWS_AN_ASSET):
        source, target = (hashlib.sha256(f"{number} {m}".encode()).hexdigest() for m in (n, n + 1))
        yield LineageRow(
            row_id=ids.row_id(accepted_ms, "lineage", number, n), asset_id=asset_id, job_id=asset_id[::-1],
            tenant="bench", source=source, target=target, target_name=f"rendition-{n}.mp4", stage="derive",
            step=f"video-{n}", version="3", params=json.dumps({"height": 720, "crf": 20 + n, "preset": "veryfast"}),
            result_id=hashlib.sha256(source.encode()).hexdigest(),
        ).model_dump()  # fmt: skip


def batches(count: int) -> Iterator[pa.Table]:
    """The rows of so many assets as they come: of many assets at once, a few rows at a time."""
    draw, live, found = random.Random(1), list[Iterator[dict[str, Any]]](), list[dict[str, Any]]()
    coming = iter(range(count))
    while True:
        live += [_rows_of(n, count) for _, n in zip(range(AT_ONCE - len(live)), coming, strict=False)]
        if not live:
            break
        one = draw.choice(live)
        if (row := next(one, None)) is None:
            live.remove(one)
            continue
        found.append(row)
        if len(found) == BATCH:
            yield pa.Table.from_pylist(found, schema=SCHEMA)
            found = []
    if found:
        yield pa.Table.from_pylist(found, schema=SCHEMA)


def write(settings: Settings, layout: Layout, data: Sequence[pa.Table]) -> dict[str, Any]:
    """Appends all, joins the files; what both took."""
    schema = SCHEMA.append(pa.field("part", pa.string())) if layout.part else SCHEMA
    table = DeltaTable.create(
        table_uri(settings, "lineage"), schema=schema, storage_options=table_options(settings),
        configuration=CONFIGURATION | ({"delta.dataSkippingNumIndexedCols": "2"} if layout.z_order else {}),
        partition_by="part" if layout.part else None,
    )  # fmt: skip
    appends = [_seconds(_append, table, layout, each) for each in data]
    before = len(table.file_uris())
    joined = _seconds(_join, table, layout)
    sizes = pa.table(table.get_add_actions())["size_bytes"].to_pylist()
    return {
        "append_ms": 1000 * median(appends), "files_before": before, "join_s": joined, "files": len(sizes),
        "mb": sum(sizes) / 1e6,
    }  # fmt: skip


def _append(table: DeltaTable, layout: Layout, rows: pa.Table) -> None:
    if layout.part:
        parts = map(layout.part, rows["row_id"].to_pylist(), rows["asset_id"].to_pylist())
        rows = rows.append_column("part", pa.array(list(parts)))
    write_deltalake(table, rows, mode="append", writer_properties=layout.writer)


def _join(table: DeltaTable, layout: Layout) -> None:
    if layout.z_order:
        table.optimize.z_order(["asset_id"], target_size=layout.file_bytes, writer_properties=layout.writer)
    else:
        table.optimize.compact(target_size=layout.file_bytes, writer_properties=layout.writer)
    table.create_checkpoint()


def read(settings: Settings, layout: Layout, count: int) -> dict[str, float]:
    """What it takes to read an asset's rows, with and without the time of its acceptance, and to look row ids up."""
    draw = random.Random(5)
    found: dict[str, list[float]] = {"asset_and_time_ms": [], "asset_ms": [], "ids_ms": []}
    for _ in range(READS):
        number = draw.randrange(count)
        asset_id, accepted_ms = asset(number, count)
        for name, times in {"asset_and_time_ms": [accepted_ms], "asset_ms": []}.items():
            found[name].append(1000 * _seconds(_read_asset, settings, layout, asset_id, times))
        row_ids = {row["row_id"] for n in range(number, min(number + 25, count)) for row in _rows_of(n, count)}
        found["ids_ms"].append(1000 * _seconds(_look_up, settings, row_ids))
    return {name: median(values) for name, values in found.items()}


def _read_asset(settings: Settings, layout: Layout, asset_id: str, times: Sequence[int]) -> None:
    rows = tables.scan(settings, "lineage").filter(pl.col("asset_id") == asset_id)
    if layout.part and layout.by_asset:
        rows = rows.filter(pl.col("part") == layout.part("", asset_id))
    if times:
        rows = rows.filter(tables.accepted_at(times))
    if len(rows.collect()) != ROWS_AN_ASSET:
        raise RuntimeError("an asset's rows are not all there, or more")


def _look_up(settings: Settings, row_ids: set[str]) -> None:
    table = tables.opened(settings, "lineage")
    if table is None or len(Appender(table).known(row_ids)) != len(row_ids):
        raise RuntimeError("not all row ids are found")


def _seconds(work: Callable[..., Any], *arguments: Any) -> float:
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def _show(found: Sequence[dict[str, Any]]) -> None:
    table = Table(*found[0], title_justify="left")
    for row in found:
        table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=None if os.isatty(1) else 140).print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures on the servers of `make services`; prints a line for each layout, and writes them to `--out`."""
    parser = argparse.ArgumentParser(prog="python -m bench.tables", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--out", type=Path, default=Path("bench-tables.json"))
    options = parser.parse_args(arguments)
    count, found = options.rows // ROWS_AN_ASSET, list[dict[str, Any]]()
    data = list(batches(count))
    for layout in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder, place(Path(folder), 1) as settings:
            told = {"layout": layout.name, **write(settings, layout, data), **read(settings, layout, count)}
            told["delete_s"] = _seconds(tables.drop_rows, settings, "lineage", asset(count // 2, count)[0])
        print(json.dumps(told), flush=True)
        found.append(told)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    _show(found)


if __name__ == "__main__":
    main()
