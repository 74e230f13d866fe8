"""The windows of use: computed from the events in their table and the lineage's parents, and from nothing else.

A window's rows are put in the place of those before in one version of each table. So they are the same in whatever
order and how often events come, and after whatever crash. `usage_tenants` comes last: as long as it counts other events
than there are, a window is stale.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from fractions import Fraction
from functools import partial
from typing import Any

import polars as pl
import pyarrow as pa

from dataflows import tables
from dataflows.connections import table_options, table_uri
from schemas import metrics
from schemas.arrow import arrow_schema
from schemas.credit import Parents, Used, window_rows
from schemas.settings import Settings
from schemas.tables import USAGE_TABLES
from sinks.delta_table import ROW_ID, open_table, patiently, replace
from sinks.usage import Window

EVENTS, ASSETS, TENANTS = USAGE_TABLES
_AT_ONCE = 200
_WHAT = ("asset_id", "action", "currency")
Rows = list[dict[str, Any]]


class Windows:
    """Computes windows; used by one thread. `gone` tells the deleted assets, which get no row and no credit."""

    def __init__(self, settings: Settings, gone: Callable[[], AbstractSet[str]]) -> None:
        self._settings, self._gone = settings, gone
        self._share = Fraction(str(settings.usage_credit_share))
        self._length_ms = settings.usage_window_s * 1000
        self._tables = {name: self._opened(name) for name in (ASSETS, TENANTS)}

    def _opened(self, name: str) -> Any:
        settings = self._settings
        return open_table(table_uri(settings, name), arrow_schema(USAGE_TABLES[name]), table_options(settings))

    def compute(self, due: Mapping[Window, str]) -> None:
        """Puts the rows of these windows in their place; a value says why the window is due.

        Raises what the tables raise once the settings' patience is over.
        """
        started = time.monotonic()
        windows = sorted(due)
        for first in range(0, len(windows), _AT_ONCE):
            work = partial(self._replace, windows[first : first + _AT_ONCE])
            patiently(work, TENANTS, self._settings.patience)
        for why in due.values():
            metrics.USAGE_WINDOWS.labels(why).inc()
        metrics.USAGE_SECONDS.observe(time.monotonic() - started)

    def _replace(self, windows: Collection[Window]) -> None:
        # the tables' versions first: where another writer changes them from here on, all of this is done again
        for table in self._tables.values():
            table.update_incremental()
        before = self._summed(windows)
        assets, tenants = self._rows(windows)
        for name, rows in ((ASSETS, assets), (TENANTS, tenants)):
            found = pa.Table.from_pylist(rows, schema=arrow_schema(USAGE_TABLES[name]))
            replace(self._tables[name], found, _predicate(windows, self._length_ms))
        self._count(before, tenants)

    def _rows(self, windows: Collection[Window]) -> tuple[Rows, Rows]:
        gone = self._gone()
        used, parents = self._used(windows, gone), self._parents({window.tenant for window in windows}, gone)
        assets, tenants = [], []
        for window, uses in used.items():
            made = window_rows(*window, self._settings.usage_window_s, uses, parents[window.tenant], self._share, gone)
            assets += made[0]
            tenants += made[1]
        return assets, tenants

    def _used(self, windows: Collection[Window], gone: AbstractSet[str]) -> dict[Window, list[Used]]:
        """The events of these windows, summed by asset, action and currency."""
        events = tables.scan(self._settings, EVENTS).filter(_within(windows, self._length_ms))
        sums = (pl.len().alias("events"), pl.col("quantity").sum(), pl.col("amount").sum())
        grouped = events.group_by("tenant", self._start("at_ms"), *_WHAT).agg(*sums).collect()
        found: defaultdict[Window, list[Used]] = defaultdict(list)
        for tenant, start_ms, *used in grouped.iter_rows():
            if used[0] not in gone:
                found[Window(tenant, start_ms)].append(Used(*used))
        return found

    def _start(self, column: str) -> pl.Expr:
        return (pl.col(column) // self._length_ms * self._length_ms).alias("start_ms")

    def _parents(self, tenants: Collection[str], gone: AbstractSet[str]) -> Mapping[str, Parents]:
        """Of each tenant's assets that have any, by their newest manifest version."""
        newest = pl.col("parents").sort_by("manifest_version").last()
        rows = tables.scan(self._settings, "assets").filter(
            pl.col("tenant").is_in(list(tenants)) & (pl.col("manifest_version") > 0)
        )
        found: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
        grouped = rows.group_by("tenant", "asset_id").agg(newest).filter(pl.col("parents").list.len() > 0)
        for tenant, asset_id, parents in grouped.collect().iter_rows():
            if asset_id not in gone:
                found[tenant][asset_id] = parents
        return found

    def _summed(self, windows: Collection[Window]) -> Rows:
        """What the table says of these windows so far."""
        rows = pl.scan_delta(self._tables[TENANTS]).filter(_within(windows, self._length_ms))
        return rows.select("tenant", "action", "quantity", "credit").collect().to_dicts()

    def _count(self, before: Rows, after: Rows) -> None:
        """Metrics grow by what the windows have more than before."""
        more: defaultdict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0])
        for sign, rows in ((-1, before), (1, after)):
            for row in rows:
                tenant = row["tenant"] if self._settings.metrics_by_tenant else ""
                sums = more[row["action"], tenant]
                sums[0] += sign * row["quantity"]
                sums[1] += sign * row["credit"]
        for labels, (quantity, credit) in more.items():
            metrics.USAGE_QUANTITY.labels(*labels).inc(max(0, quantity))
            metrics.USAGE_CREDIT.labels(*labels).inc(max(0, credit))

    def stale(self) -> set[Window]:
        """The windows of which the tables count other events than there are, or that are of another length."""
        events = tables.scan(self._settings, EVENTS).group_by("tenant", self._start("at_ms")).len().collect()
        wanted = {Window(tenant, start_ms): count for tenant, start_ms, count in events.iter_rows()}
        other_length = (pl.col("window_s") != self._settings.usage_window_s).any()
        rows = pl.scan_delta(self._tables[TENANTS]).group_by("tenant", self._start("window_start_ms"))
        counted = rows.agg(pl.when(other_length).then(-1).otherwise(pl.col("events").sum())).collect()
        known = {Window(tenant, start_ms): count for tenant, start_ms, count in counted.iter_rows()}
        return {window for window in wanted.keys() | known.keys() if wanted.get(window) != known.get(window)}

    def of_asset(self, asset_id: str) -> set[Window]:
        """The windows that have rows of an asset."""
        rows = pl.scan_delta(self._tables[ASSETS]).filter(pl.col("asset_id") == asset_id)
        found = rows.select("tenant", self._start("window_start_ms")).unique().collect()
        return {Window(*row) for row in found.iter_rows()}


def forget(settings: Settings, asset_id: str, gone: AbstractSet[str]) -> int:
    """Takes an asset, one of those that are gone, out of the tables of use; how many events of it there were.

    Its windows are computed again, without its events and its credit.
    """
    if tables.opened(settings, EVENTS) is None:
        return 0
    windows = Windows(settings, lambda: gone)
    due = windows.of_asset(asset_id)
    events = tables.drop_rows(settings, EVENTS, asset_id)
    windows.compute(dict.fromkeys(due, "deletion"))
    tables.drop_rows(settings, ASSETS, asset_id)
    return events


def _ends(window: Window, length_ms: int) -> tuple[str, str]:
    """The row ids of a window's events and rows begin at the first, and before the second."""
    return f"{window.start_ms:013d}", f"{window.start_ms + length_ms:013d}"


def _within(windows: Collection[Window], length_ms: int) -> pl.Expr:
    row_id, tenant, parts = pl.col(ROW_ID), pl.col("tenant"), []
    for window in windows:
        start, end = _ends(window, length_ms)
        parts.append((row_id >= start) & (row_id < end) & (tenant == window.tenant))
    return pl.any_horizontal(parts)


def _predicate(windows: Collection[Window], length_ms: int) -> str:
    parts = []
    for window in windows:
        start, end = _ends(window, length_ms)
        parts.append(f"({ROW_ID} >= '{start}' AND {ROW_ID} < '{end}' AND tenant = '{window.tenant}')")
    return " OR ".join(parts)
