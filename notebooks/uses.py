"""Events of use, made up from a seed, over the assets of a run; summed as the flow `usage` sums those from Kafka."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from dataflows import queries
from dataflows.connections import table_options, table_uri
from dataflows.usage_windows import EVENTS, Windows
from schemas.arrow import arrow_schema
from schemas.settings import Settings
from schemas.tables import USAGE_TABLES
from schemas.usage import Price, Usage, UsageEvent, usage_row
from sinks.delta_table import Appender, open_table

DAYS = 60
SOURCE = "https://editor.example"
# uses a day of the most used asset in its first days, by action
RATES = {"viewed": 9.0, "downloaded": 0.8, "placed": 0.7, "reused": 0.25, "sold": 0.12}
CENTS = (1900, 4900, 9900)


def use(settings: Settings, seed: int = 7) -> int:
    """Writes events of use of all completed assets and the windows they fall into; returns how many events."""
    rows = [usage_row(event.model_dump_json().encode()) for event in events(settings, seed)]
    schema = arrow_schema(USAGE_TABLES[EVENTS])
    table = open_table(table_uri(settings, EVENTS), schema, table_options(settings))
    Appender(table).append(pa.Table.from_pylist(rows, schema=schema), set())
    windows = Windows(settings, frozenset)
    windows.compute(dict.fromkeys(windows.stale(), "start"))
    return len(rows)


def events(settings: Settings, seed: int) -> Iterator[UsageEvent]:
    """Few assets are used much and many little (Zipf); interest halves in 4 to 60 days."""
    found = queries.last_rows(queries.rows(settings, "assets", state="completed", tenant=settings.tenant))
    random = np.random.default_rng(seed)
    end = datetime.fromtimestamp(max(row["accepted_ms"] for row in found.values()) / 1000, UTC)
    names = {asset: (row["source"].rpartition("/")[2], asset) for asset, row in found.items()}
    order = random.permutation(sorted(found, key=names.__getitem__))
    for rank, asset in enumerate(order, 1):
        half_life = random.uniform(4, 60)
        for action, rate in RATES.items():
            for day in range(DAYS):
                expected = rate / rank * 0.5 ** (day / half_life) * 2
                for number in range(random.poisson(expected)):
                    at = end - timedelta(days=DAYS - day) + timedelta(seconds=math.floor(random.uniform(0, 86_400)))
                    price = Price(amount=int(random.choice(CENTS)), currency="EUR") if action == "sold" else None
                    yield _event(f"{rank}-{action}-{day}-{number}", at, settings.tenant, asset, action, price)
        for number, parent in enumerate(found[asset]["parents"]):
            at = end - timedelta(days=DAYS)
            yield _event(f"{rank}-derived-{number}", at, settings.tenant, parent, "derived", None, str(asset))


def _event(
    id_: str, at: datetime, tenant: str, asset: str, action: str, price: Price | None, derived: str = ""
) -> UsageEvent:
    used = {"tenant": tenant, "asset_id": str(asset), "action": action, "price": price, "derived_asset_id": derived}
    return UsageEvent(id=id_, source=SOURCE, time=at, data=Usage.model_validate(used))
