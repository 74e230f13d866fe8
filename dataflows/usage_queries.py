"""What the tables of use say: of a tenant, of each of its assets, or by window."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import polars as pl

from dataflows import queries, tables
from dataflows.usage_windows import ASSETS, TENANTS
from schemas.settings import Settings

SUMS = ("events", "quantity", "amount", "credit", "credit_amount")
# what rows are about, beside action and currency
BY: dict[str, tuple[str, ...]] = {"action": (), "window": ("window_start",), "asset": ("asset_id",)}


def columns(by: str) -> list[str]:
    """The columns to show."""
    return [*(("asset",) if by == "asset" else ()), *BY[by], "action", "currency", *SUMS]


def ids_of(settings: Settings, name: str) -> list[str]:
    """The ids of assets that a person means; an id in full may be of an asset that was never submitted here."""
    try:
        return [str(UUID(name))]
    except ValueError:
        return queries.named(settings, name)


def totals(
    settings: Settings, by: str, asset_ids: Collection[str] | None = None, since_ms: int = 0
) -> list[dict[str, Any]]:
    """Sums of computed windows that begin then or later: of a tenant, or of some of its assets; `by` is one of BY.

    Raises ValueError for another `by`.
    """
    if by not in BY:
        raise ValueError(f"no sums by {by!r}; there are {', '.join(BY)}")
    of_tenant = asset_ids is None and by != "asset"
    rows = tables.scan(settings, TENANTS if of_tenant else ASSETS).filter(
        (pl.col("tenant") == settings.tenant) & (pl.col("window_start_ms") >= since_ms)
    )
    if asset_ids is not None:
        rows = rows.filter(pl.col("asset_id").is_in(list(asset_ids)))
    start = pl.from_epoch("window_start_ms", "ms").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    key = (*BY[by], "action", "currency")
    grouped = rows.with_columns(start.alias("window_start")).group_by(key).agg(pl.col(name).sum() for name in SUMS)
    found = grouped.sort(key).collect().to_dicts()
    return _named(settings, found) if by == "asset" else found


def _named(settings: Settings, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    known = queries.names(settings)
    return [{"asset": unquote(known.get(row["asset_id"], "")), **row} for row in rows]
