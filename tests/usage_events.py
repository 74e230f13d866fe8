"""Events of use as a producer that knows the documents sends them, and what a simple count of them must be."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import polars as pl
from confluent_kafka import Producer

from dataflows import tables
from schemas.settings import Settings
from schemas.topics import USAGE, client_options, full_name

Event = dict[str, Any]
ACTIONS = ("placed", "reused", "sold", "derived", "viewed", "downloaded")
STRUCTURED = {"content-type": "application/cloudevents+json"}


def asset(n: int) -> str:
    """The id of the n-th asset."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"asset/{n}"))


def use(n: int, at_ms: int, action: str = "viewed", used: str = "", **data: Any) -> Event:
    """The n-th event of use, in structured mode."""
    time = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
    data = {"tenant": "acme", "asset_id": used or asset(0), "action": action, **data}
    return {
        "specversion": "1.0", "id": f"use/{n}", "source": "https://editor.example", "time": time,
        "type": "assets.usage.recorded.v1", "data": data,
    }  # fmt: skip


def uses(seed: int, count: int, start_ms: int, span_ms: int, tenants: Sequence[str] = ("acme", "zeta")) -> list[Event]:
    """Events at random times of a span, in their order, about ten assets."""
    rng, found = Random(seed), []
    for n, at_ms in enumerate(sorted(rng.randrange(start_ms, start_ms + span_ms) for _ in range(count))):
        action, more = rng.choice(ACTIONS), dict[str, Any]()
        if action == "sold":
            more["price"] = {"amount": rng.randrange(1, 5000), "currency": rng.choice(("EUR", "USD"))}
        if action == "derived":
            more["derived_asset_id"] = asset(rng.randrange(10, 20))
        more |= {"tenant": rng.choice(tenants), "quantity": rng.randrange(1, 4)}
        found.append(use(n, at_ms, action, asset(rng.randrange(10)), **more))
    return found


def produce(settings: Settings, events: Iterable[Event | bytes]) -> None:
    """Sends events as the AsyncAPI document says: keyed by their assets' ids; bytes are sent as they are."""
    producer = Producer({**client_options(settings), "partitioner": "consistent"})
    for event in events:
        key = "bad" if isinstance(event, bytes) else event["data"]["asset_id"]
        value = event if isinstance(event, bytes) else json.dumps(event)
        producer.produce(full_name(settings, USAGE), value, key, headers=STRUCTURED)
    assert producer.flush(30) == 0


def milliseconds(event: Event) -> int:
    """The event's time, since 1970."""
    return round(datetime.fromisoformat(event["time"]).timestamp() * 1000)


def counted(events: Iterable[Event], window_s: int) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    """(events, quantity, amount) by window, tenant, asset, action and currency, each event once."""
    sums: defaultdict[tuple[Any, ...], tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
    for event in {event["id"]: event for event in events}.values():
        data, at_ms = event["data"], milliseconds(event)
        price = data.get("price", {"amount": 0, "currency": ""})
        start = at_ms - at_ms % (window_s * 1000)
        key = start, data["tenant"], data["asset_id"], data["action"], price["currency"]
        found, more = sums[key], (1, data.get("quantity", 1), price["amount"])
        sums[key] = found[0] + more[0], found[1] + more[1], found[2] + more[2]
    return dict(sums)


def in_table(settings: Settings) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    """The same of `usage_assets`, less rows of credit alone. No row is there twice."""
    rows = tables.scan(settings, "usage_assets").filter(pl.col("events") > 0).collect().to_dicts()
    key, sums = ("window_start_ms", "tenant", "asset_id", "action", "currency"), ("events", "quantity", "amount")
    found = {tuple(row[name] for name in key): tuple(row[name] for name in sums) for row in rows}
    assert len(found) == len(rows)
    return found
