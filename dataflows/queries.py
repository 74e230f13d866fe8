"""What the tables and manifests say: states, histories and endings of assets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from schemas.errors import State
from schemas.events import STATUS, StatusChanged
from schemas.fold import AssetState, fold_asset
from schemas.settings import Settings


def rows(
    settings: Settings, table: str, asset_ids: Collection[str] | None = None, **equal: str
) -> list[dict[str, Any]]:
    """A table's rows, of these assets or of all, filtered by equal columns; none while the table does not exist."""
    uri = str(settings.below("tables", table))
    if not Path(uri, "_delta_log").exists():
        return []
    wanted = None if asset_ids is None else pc.field("asset_id").isin(list(asset_ids))
    for name, value in equal.items():
        test = pc.field(name) == value
        wanted = test if wanted is None else wanted & test
    found: pa.Table = DeltaTable(uri).to_pyarrow_dataset().to_table(filter=wanted)
    return found.to_pylist()


def events(settings: Settings, asset_ids: Collection[str] | None = None) -> list[StatusChanged]:
    """All status changes in the table."""
    found = rows(settings, "events", asset_ids, type=STATUS)
    return [StatusChanged.model_validate_json(row["data"]) for row in found]


def states(settings: Settings, asset_ids: Collection[str] | None = None) -> dict[str, AssetState]:
    """The state of each asset: a fold over its events, or of an event that could not be read, what its row says."""
    by_asset: dict[str, list[StatusChanged]] = defaultdict(list)
    for event in events(settings, asset_ids):
        by_asset[event.asset_id].append(event)
    told = last_rows(rows(settings, "assets", asset_ids))
    ended = {a: AssetState(**{k: row[k] for k in ("state", "code", "message")}) for a, row in told.items()}
    return ended | {asset: fold_asset(found) for asset, found in by_asset.items()}


def last_rows(found: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The newest row of each asset in the table `assets`: of the job accepted last, by generation, then by version.

    As in `fold_asset`, a submission that was refused does not hide what was accepted before it.
    """
    last: dict[str, dict[str, Any]] = {}
    for row in found:
        known = last.get(row["asset_id"])
        if known is None or _rank(row) >= _rank(known):
            last[row["asset_id"]] = row
    return last


def _rank(row: dict[str, Any]) -> tuple[bool, int, int, int]:
    return row["state"] != State.REJECTED, row["accepted_ms"], row["generation"], row["manifest_version"]


HISTORY = ["stage", "step", "state", "code", "attempt", "duration_s", "cached", "message"]


def names(settings: Settings) -> dict[str, str]:
    """The file name of each asset in the table."""
    return {
        a: row["source"].rpartition("/")[2]
        for a, row in last_rows(rows(settings, "assets", tenant=settings.tenant)).items()
    }


def named(settings: Settings, name: str) -> list[str]:
    """The ids of assets with this id, beginning of an id (8 characters at least), or file name."""
    known = names(settings)
    if name in known:
        return [name]
    return [a for a, file in known.items() if unquote(file) == name or (len(name) >= 8 and a.startswith(name))]


def history(settings: Settings, asset_id: str) -> list[StatusChanged]:
    """All status changes of an asset, in order."""
    return sorted(events(settings, [asset_id]), key=lambda e: (e.generation, e.at_ms, e.attempt, e.sequence))


def overview(settings: Settings) -> list[dict[str, Any]]:
    """Each asset with its state."""
    table, now = last_rows(rows(settings, "assets", tenant=settings.tenant)), states(settings)
    known = names(settings)
    return [
        {"asset_id": a, "name": unquote(known.get(a, "")), "kind": table.get(a, {}).get("kind", ""),
         **state.model_dump(mode="json", include={"state", "code", "message", "stage"})}
        for a, state in now.items()
    ]  # fmt: skip
