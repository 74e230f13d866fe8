"""The flow `usage` without its source, on tables in a folder, and what is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pyarrow as pa
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource
from delta_rows import read_table
from flow_fixtures import AT_ONCE, run_flow  # noqa: F401

from dataflows.event_time import due_windows
from dataflows.usage_windows import EVENTS, Windows
from schemas.arrow import arrow_schema
from schemas.ids import row_id
from schemas.settings import Settings
from schemas.tables import USAGE_TABLES, AssetRow
from schemas.usage import usage_row
from sinks.delta import DeltaSink
from sinks.delta_table import Appender, open_table
from sinks.usage import Due, UsageSink, Window

START_MS = 1_900_000_000_000 // 60_000 * 60_000 - 10 * 365 * 86_400_000


def row(event: dict[str, Any]) -> dict[str, Any]:
    """The row of an event."""
    return usage_row(json.dumps(event).encode())


def settings_in(folder: Path, **more: Any) -> Settings:
    """Small windows, little patience."""
    given = {"usage_window_s": 60, "usage_lateness_s": 0.0, "usage_refresh_s": 0.05, "patience_s": 5.0}
    return Settings(out=folder, **(given | more))


def sink_of(settings: Settings, **more: Any) -> UsageSink:
    uri = str(settings.below("tables", EVENTS))
    events = DeltaSink(uri, arrow_schema(USAGE_TABLES[EVENTS]), meanwhile=lambda: None)
    windows = Windows(settings, set)
    return UsageSink(events, windows.compute, windows.stale, lambda: None, 0, 1, **more)


def flow_of(settings: Settings, events: list[dict[str, Any]], batch: int) -> Dataflow:
    """The parts of the flow `usage` behind its source."""
    flow = Dataflow("usage")
    rows = op.key_on("tenant", op.input("in", flow, TestingSource(events, batch)), lambda found: found["tenant"])
    op.output("out", op.merge("both", rows, due_windows("due", rows, settings)), sink_of(settings))
    return flow


def lineage(settings: Settings, parents: dict[str, list[str]], version: int = 1, tenant: str = "acme") -> None:
    """Rows of assets with these parents."""
    nothing = {name: "" if kind.annotation is str else 0 for name, kind in AssetRow.model_fields.items()}
    nothing |= {"tags": [], "labels": []} | dict.fromkeys(("duration_s", "width", "height", "pages"))
    rows = [
        nothing | {
            "row_id": row_id(version, "assets", asset_id), "asset_id": asset_id, "tenant": tenant, "parents": above,
            "manifest_version": version,
        }
        for asset_id, above in parents.items()
    ]  # fmt: skip
    table = open_table(str(settings.below("tables", "assets")), schema := arrow_schema(AssetRow))
    Appender(table).append(pa.Table.from_pylist(rows, schema=schema), set())


def tables_of(settings: Settings) -> dict[str, list[dict[str, Any]]]:
    """All rows, in order."""
    found = {name: read_table(settings.below("tables", name)).to_pylist() for name in USAGE_TABLES}
    return {name: sorted(rows, key=lambda r: r["row_id"]) for name, rows in found.items()}


def write(settings: Settings, events: list[dict[str, Any]], windows: list[Window] | None = None) -> None:
    """What one epoch does: of these windows, or of the events'."""
    partition = sink_of(settings).build_part("s", "0000", None)
    rows = [row(event) for event in events]
    found = [Window(r["tenant"], r["at_ms"] // 60_000 * 60_000) for r in rows] if windows is None else windows
    partition.write_batch([*(Due(window, "closed") for window in found), *rows])
    partition.snapshot()
    partition.close()
