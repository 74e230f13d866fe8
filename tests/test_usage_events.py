"""Events of use at the border: read in both modes, known when they repeat, refused by their fields."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from flow_fixtures import AT_ONCE, run_flow  # noqa: F401
from usage_events import STRUCTURED, use

from schemas import documents
from schemas.cloudevents import decode_usage
from schemas.examples import BINARY, EXAMPLES
from schemas.messages import Message, Record
from schemas.usage import UsageEvent, usage_row

START_MS = 1_900_000_000_000 // 60_000 * 60_000 - 10 * 365 * 86_400_000


def read(value: bytes | None, headers: dict[str, str] | None = None) -> dict[str, Any]:
    given = {name: text.encode() for name, text in (headers or STRUCTURED).items()}
    return decode_usage(Message("assets.usage", 0, 0, None, value, given))


def row(event: dict[str, Any]) -> dict[str, Any]:
    return read(json.dumps(event).encode())


def test_an_event_is_the_same_in_both_modes() -> None:
    """The examples of the documents are one event, and its row has what the event says."""

    def of(record: Record) -> dict[str, Any]:
        return decode_usage(Message(record.topic, 0, 0, record.key.encode(), record.value, record.headers))

    found = of(EXAMPLES["usage-event"])
    assert found == of(BINARY["usage-event"])
    assert (found["tenant"], found["action"], found["quantity"]) == ("acme", "sold", 2)
    assert (found["amount"], found["currency"], found["at_ms"]) == (1998, "EUR", 1_896_091_200_000)


def test_a_row_id_begins_with_the_events_time_and_is_the_same_for_the_same_event() -> None:
    """A repeated event has the row id of the first; another tenant, source, id or time makes another event."""
    event = use(1, START_MS + 5)
    assert row(event)["row_id"] == row(dict(event))["row_id"] == row(event | {"traceparent": "x"})["row_id"]
    assert row(event)["row_id"].startswith(f"{START_MS + 5:013d}-")
    others = [
        event | {"id": "other"}, event | {"source": "/other"}, use(1, START_MS + 6),
        event | {"data": event["data"] | {"tenant": "zeta"}},
    ]  # fmt: skip
    assert len({row(each)["row_id"] for each in [event, *others]}) == 5


GOOD = use(1, START_MS, "sold", price={"amount": 5, "currency": "EUR"})
BAD: list[tuple[str, dict[str, Any]]] = [
    ("time", {"time": None}),
    ("time", {"time": "2026-01-01T00:00:00"}),
    ("time", {"time": "1969-12-31T23:59:59Z"}),
    ("time", {"time": "2290-01-01T00:00:00Z"}),
    ("id", {"id": ""}),
    ("type", {"type": "assets.ingest.requested.v1"}),
    ("data.action", {"data": GOOD["data"] | {"action": "stolen"}}),
    ("data.quantity", {"data": GOOD["data"] | {"quantity": 0}}),
    ("data.quantity", {"data": GOOD["data"] | {"quantity": 1.5}}),
    ("data.asset_id", {"data": GOOD["data"] | {"asset_id": "../x"}}),
    ("data.tenant", {"data": GOOD["data"] | {"tenant": "' OR 1=1 --"}}),
    ("data.price.amount", {"data": GOOD["data"] | {"price": {"amount": -1, "currency": "EUR"}}}),
    ("data.price.currency", {"data": GOOD["data"] | {"price": {"amount": 1}}}),
    ("data.price.currency", {"data": GOOD["data"] | {"price": {"amount": 1, "currency": "euro"}}}),
    ("data.derived_asset_id", {"data": GOOD["data"] | {"derived_asset_id": "x"}}),
    ("data.more", {"data": GOOD["data"] | {"more": 1}}),
]


@pytest.mark.parametrize(("field", "changes"), BAD)
def test_a_bad_event_is_refused_by_its_field(field: str, changes: dict[str, Any]) -> None:
    """What is refused names the field that is wrong, and the JSON Schema of the documents refuses it too."""
    bad = GOOD | changes
    with pytest.raises(ValueError, match=rf"^{field}: "):
        row(bad)
    if "2290" not in str(changes) and "1969" not in str(changes):
        schema = json.loads((documents.FOLDER / "usage-event.schema.json").read_text())
        checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
        assert not jsonschema.Draft202012Validator(schema, format_checker=checker).is_valid(bad)


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b"[]", b" " * (2**20 + 1), b'{"specversion": "1.0"}'])
def test_what_is_no_event_is_refused(value: bytes | None) -> None:
    """A tombstone, no JSON, JSON of something else and what is too large are refused with a reason."""
    with pytest.raises(ValueError, match=r".+"):
        read(value)


def test_the_hot_path_reads_what_the_model_reads() -> None:
    """An event that only pydantic reads ("5" for a number) has the row that its struct would have."""
    loose = GOOD | {"data": GOOD["data"] | {"quantity": "3"}}
    assert row(loose) == row(GOOD | {"data": GOOD["data"] | {"quantity": 3}})
    assert UsageEvent.model_validate(GOOD).data.price == UsageEvent.model_validate_json(json.dumps(GOOD)).data.price
    assert usage_row(json.dumps(GOOD).encode())["amount"] == 5
