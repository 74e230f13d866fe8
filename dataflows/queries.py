"""What the tables and manifests say: states, histories and endings of assets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import polars as pl

from dataflows import tables
from schemas.errors import State
from schemas.events import STATUS, StatusChanged
from schemas.fold import AssetState, fold_asset
from schemas.settings import Settings


def rows(
    settings: Settings, table: str, asset_ids: Collection[str] | None = None, *, accepted: Collection[int] = (),
    since_ms: int = 0, columns: Sequence[str] = (), as_of: datetime | None = None, **equal: str,
) -> list[dict[str, Any]]:  # fmt: skip
    """A table's rows, of these assets or of all, filtered by equal columns; none while the table does not exist.

    With `accepted` only rows of assets that were accepted then, and with `since_ms` then or later, in ms since 1970;
    both are found at once. Raises ValueError where time travel does not reach back to `as_of`.
    """
    found = tables.scan(settings, table, as_of)
    if asset_ids is not None:
        found = found.filter(pl.col("asset_id").is_in(list(asset_ids)))
    if accepted:
        found = found.filter(tables.accepted_at(accepted))
    if since_ms:
        found = found.filter(tables.accepted_since(since_ms))
    for name, value in equal.items():
        found = found.filter(pl.col(name) == value)
    try:
        return found.select(columns or pl.all()).collect().to_dicts()
    except OSError as error:
        if as_of is None:
            raise
        raise ValueError(f"files of {table} of {as_of.isoformat()} are not there any more") from error


def events(
    settings: Settings, asset_ids: Collection[str] | None = None, *, accepted: Collection[int] = (),
    as_of: datetime | None = None,
) -> list[StatusChanged]:  # fmt: skip
    """All status changes in the table."""
    found = rows(settings, "events", asset_ids, accepted=accepted, columns=["data"], as_of=as_of, type=STATUS)
    return [StatusChanged.model_validate_json(row["data"]) for row in found]


def recent_events(settings: Settings, since_ms: int) -> list[StatusChanged]:
    """The status changes of the tenant's assets that were accepted since then, in ms since 1970."""
    found = rows(settings, "events", since_ms=since_ms, columns=["data"], type=STATUS, tenant=settings.tenant)
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


RANK = ("state", "accepted_ms", "generation", "manifest_version")


def _rank(row: dict[str, Any]) -> tuple[bool, int, int, int]:
    return row["state"] != State.REJECTED, row["accepted_ms"], row["generation"], row["manifest_version"]


HISTORY = ["stage", "step", "state", "code", "attempt", "duration_s", "cached", "message"]


def names(settings: Settings) -> dict[str, str]:
    """The file name of each asset in the table."""
    found = rows(settings, "assets", columns=["asset_id", "source", *RANK], tenant=settings.tenant)
    return {a: row["source"].rpartition("/")[2] for a, row in last_rows(found).items()}


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
