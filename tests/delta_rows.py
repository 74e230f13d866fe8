"""Rows of a small Delta table, and ways to write and read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from schemas.ids import row_id
from sinks.delta import DeltaSink

ASSETS = pa.schema([("row_id", pa.string()), ("asset_id", pa.string()), ("n", pa.int64())])


def rows_at(accepted_ms: int, count: int, name: str = "asset", **more: Any) -> list[dict[str, Any]]:
    """A row each of as many assets that were accepted then."""
    return [
        {"row_id": row_id(accepted_ms, "rows", name, n), "asset_id": f"{name}-{n}", "n": n, **more}
        for n in range(count)
    ]


def write(sink: DeltaSink, rows: list[dict[str, Any]]) -> None:
    """What a flow of one epoch does."""
    partition = sink.build_part("step", "rows", None)
    partition.write_batch(rows)
    partition.close()


def read_table(uri: str | Path) -> pa.Table:
    """All rows of a table in a folder."""
    return DeltaTable(str(uri)).to_pyarrow_table()


def ids_in(uri: str | Path) -> list[str]:
    """All row ids of a table in a folder."""
    return sorted(read_table(uri)["row_id"].to_pylist())
