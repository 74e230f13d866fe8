"""CloudEvents at the border: both modes of the Kafka binding are read, bad messages refused by name, ours are valid."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jsonschema
import pytest

from operators.stages.rows import dead_letter_row, notification_row, publication_row, status_row
from schemas import documents
from schemas.asset import Declared, IngestRequest, Source
from schemas.base import Model
from schemas.cloudevents import MOST_BYTES, Told, decode_ingest, decode_json, encode, encode_ingest, encode_row
from schemas.errors import CODES, State
from schemas.events import (
    DEAD_LETTER,
    Attempt,
    CloudEvent,
    DeadLetter,
    DeadLetterEvent,
    IngestEvent,
    Notification,
    NotificationEvent,
    Publication,
    PublicationEvent,
    StatusChanged,
    StatusEvent,
)
from schemas.messages import Message, Record

REQUEST = IngestRequest(
    source=Source(uri="https://example.org/a%20b.png", name="Grüße 100%25.png"), idempotency_key="k",
    declared=Declared(title="A cat 🐈", tags=("x", "y")),
)  # fmt: skip
EVENT = IngestEvent(
    id="50%41", source="/cms/é", subject="Grüße 🐈", time=datetime(2026, 11, 23, 6, 37, 10, 123456, UTC),
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", data=REQUEST,
)  # fmt: skip
WHO: dict[str, Any] = {"asset_id": REQUEST.asset_id, "tenant": "default"}
JOB: dict[str, Any] = {**WHO, "job_id": "j"}
FAILED: dict[str, Any] = {"state": State.FAILED, "code": "truncated", "message": CODES["truncated"].sentence}
STATUS_CHANGED = StatusChanged.of(
    stage="derive", step="video", state=State.COMPLETED, duration_s=1.25, at_ms=1_763_879_830_123, **JOB
)
LETTER = DeadLetter(
    dead_letter_id="d", stage="validate", event_id="e", input=REQUEST, raw='"\x00\N{REPLACEMENT CHARACTER}',
    attempts=(Attempt(number=1, code="truncated", traceback="line 1\nline 2"),), **JOB, **FAILED,
)  # fmt: skip
PUBLISHED = Publication(event_id="p", channel="folder", manifest_version=1, url="file:///out/a b", **JOB)
NOTIFIED = Notification(event_id="n", owner="o", **WHO, **FAILED)
TOLD: dict[type[CloudEvent[Any]], Told] = {
    StatusEvent: STATUS_CHANGED,
    PublicationEvent: PUBLISHED,
    NotificationEvent: NOTIFIED,
    DeadLetterEvent: LETTER,
}
JSON, STRUCTURED = b"application/json", b"application/cloudevents+json"


def message(value: bytes | None, **headers: bytes) -> Message:
    """A message with these headers; an underscore after `content` stands for the hyphen."""
    named = {name.replace("content_type", "content-type"): text for name, text in headers.items()}
    return Message("assets.ingest", 0, 0, None, value, named)


def as_read(record: Record) -> Message:
    """A record as a consumer reads it."""
    return Message(record.topic, 0, 0, record.key.encode(), record.value, record.headers)


@pytest.mark.parametrize("binary", [False, True])
def test_a_producers_event_is_read_as_it_was_written(binary: bool) -> None:
    """Either mode carries every attribute unchanged, percent signs and other scripts too, keyed by the asset."""
    record = encode_ingest("assets.ingest", EVENT, binary=binary)
    received = decode_ingest(as_read(record))
    assert received.event() == EVENT
    assert (record.topic, record.key) == ("assets.ingest", REQUEST.asset_id)
    assert received.asset_id == REQUEST.asset_id


def test_the_headers_are_those_of_the_binding() -> None:
    """Binary mode has the data as value and each attribute as a `ce_` header in UTF-8; empty ones are left out."""
    headers = dict(encode_ingest("t", EVENT, binary=True).headers)
    assert headers == {
        "content-type": b"application/json", "ce_specversion": b"1.0", "ce_id": b"50%41",
        "ce_source": "/cms/é".encode(), "ce_type": b"assets.ingest.requested.v1", "ce_subject": "Grüße 🐈".encode(),
        "ce_time": b"2026-11-23T06:37:10.123456Z", "ce_traceparent": EVENT.traceparent.encode(),
    }  # fmt: skip
    assert encode_ingest("t", EVENT).headers == {"content-type": STRUCTURED}
    plain = IngestEvent(id="e", source="s", data=REQUEST)
    assert set(json.loads(encode_ingest("t", plain).value)) == {
        "specversion", "id", "source", "type", "datacontenttype", "data"
    }  # fmt: skip


def test_a_time_zone_stays() -> None:
    """A time in another zone is the same instant in both modes."""
    there = EVENT.model_copy(update={"time": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))})
    for binary in (False, True):
        assert decode_ingest(as_read(encode_ingest("t", there, binary=binary))).event().time == there.time


@pytest.mark.parametrize(
    "content_type", [None, STRUCTURED, STRUCTURED + b"; charset=UTF-8", b"Application/CloudEvents+JSON ;charset=utf-8"]
)
def test_structured_mode_has_several_spellings(content_type: bytes | None) -> None:
    """An event as JSON is read without a content type, and under its own however it is spelled."""
    raw = encode_ingest("t", EVENT).value
    headers = {} if content_type is None else {"content_type": content_type}
    assert decode_ingest(message(raw, **headers)).event() == EVENT
    assert decode_ingest(message(raw, ce_id=b"other", content_type=STRUCTURED)).event() == EVENT


def test_binary_mode_needs_no_content_type() -> None:
    """Attributes in headers are binary mode, with JSON's content type, with parameters to it, or with none."""
    record = encode_ingest("t", EVENT, binary=True)
    for other in ({}, {"content-type": b"application/json; charset=utf-8"}):
        attributes = {name: text for name, text in record.headers.items() if name != "content-type"}
        assert decode_ingest(as_read(record._replace(headers={**attributes, **other}))).event() == EVENT


DATA = REQUEST.model_dump_json().encode()
IDS = {"ce_specversion": b"1.0", "ce_id": b"e", "ce_source": b"s", "ce_type": b"assets.ingest.requested.v1"}
GOOD: dict[str, Any] = json.loads(encode_ingest("t", EVENT).value)
BAD: dict[str, tuple[Message, str]] = {
    "tombstone": (message(None), "no value"),
    "binary tombstone": (message(None, content_type=JSON, **IDS), "no value"),
    "empty": (message(b""), "value: Invalid JSON"),
    "words": (message(b"this is no JSON"), "value: Invalid JSON"),
    "no text": (message(b"\xff\xfe{}"), "value: Invalid JSON"),
    "large": (message(b" " * (MOST_BYTES + 1)), "limit 1048576"),
    "large in binary mode": (message(b" " * 10 * MOST_BYTES, content_type=JSON, **IDS), "limit 1048576"),
    "batch": (message(b"[]", content_type=b"application/cloudevents-batch+json"), "content-type: send"),
    "an array": (message(b"[]"), "value: Input should be an object"),
    "another format": (message(b"x", content_type=b"application/cloudevents+avro", **IDS), "content-type: send"),
    "text": (message(b"x", content_type=b"text/plain", **IDS), "content-type: send"),
    "a nameless type": (message(b"x", content_type=b"\xff"), "content-type: send"),
    "JSON without attributes": (message(DATA, content_type=JSON), "content-type: send"),
    "no id": (message(DATA, content_type=JSON, **{k: v for k, v in IDS.items() if k != "ce_id"}), "id: Field required"),
    "another version": (message(DATA, **IDS | {"ce_specversion": b"0.3"}), "specversion: Input should be '1.0'"),
    "another type": (message(DATA, **IDS | {"ce_type": b"other"}), "type: Input should be"),
    "an extension": (message(DATA, **IDS, ce_other=b"1"), "other: Extra inputs are not permitted"),
    "a header of bytes": (message(DATA, **IDS, ce_subject=b"\xff"), "ce_subject: not UTF-8"),
    "a header as data": (message(DATA, **IDS, ce_data=DATA), "data: Input should be an object"),
    "data that goes on": (message(DATA + b',"subject":"x"', **IDS), "data: trailing characters"),
    "data that is cut off": (message(DATA[:-1], **IDS), "data: EOF"),
    "nested data": (message(b"[" * 100_000, **IDS), "data: recursion limit"),
    "nested value": (message(b'{"data":' + b"[" * 100_000), "value: Invalid JSON"),
    "tenant": (message(json.dumps(GOOD | {"data": GOOD["data"] | {"tenant": "../x"}}).encode()), "data.tenant: String"),
    "a field of nobody's": (message(json.dumps(GOOD | {"n" * 100_000: 1}).encode()), "nnn: Extra inputs"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_message_is_refused_in_a_line(name: str) -> None:
    """What is no event is a ValueError that names the field, short whatever was sent."""
    bad, why = BAD[name]
    with pytest.raises(ValueError) as refused:
        decode_ingest(bad)
    assert why in str(refused.value)
    assert len(str(refused.value)) < 310


def test_a_line_of_json_is_read_alike() -> None:
    """An event that comes without a message, as in the inbox, is read and refused the same way."""
    assert decode_json(encode_ingest("t", EVENT).value).event() == EVENT
    with pytest.raises(ValueError, match="limit 1048576"):
        decode_json(b" " * (MOST_BYTES + 1))
    with pytest.raises(ValueError, match=r"data\.source: Field required"):
        decode_json(b'{"id":"e","source":"s","data":{"idempotency_key":"k"}}')


@pytest.mark.parametrize("form", TOLD, ids=lambda form: form.__name__)
def test_what_is_told_is_a_cloud_event(form: type[CloudEvent[Any]]) -> None:
    """Each event is valid under its model and its published schema, has its own id and its asset as subject."""
    data = TOLD[form]
    record = encode("told", data)
    event = form.model_validate_json(record.value)
    own = data.dead_letter_id if isinstance(data, DeadLetter) else data.event_id
    assert event.data == data
    assert (event.id, event.source, event.subject) == (own, "asset-pipeline", data.asset_id)
    assert (record.topic, record.headers) == ("told", {"content-type": STRUCTURED})
    assert record.key == (own if isinstance(data, DeadLetter) else data.asset_id)
    assert encode("told", data) == record
    name = next(name for name, model in documents.MODELS.items() if model is form)
    jsonschema.validate(json.loads(record.value), documents.json_schema(name))


def test_a_status_changes_time_is_its_own() -> None:
    """The event's time is when the state changed, to the millisecond; one that does not know has none."""
    event = StatusEvent.model_validate_json(encode("t", STATUS_CHANGED).value)
    assert event.time == datetime(2025, 11, 23, 6, 37, 10, 123000, UTC)
    assert b'"time"' not in encode("t", STATUS_CHANGED.model_copy(update={"at_ms": 0})).value


def test_a_row_is_told_as_its_data_is() -> None:
    """A row of the table `events` becomes the same record as the data that it was made of."""
    for data, (_table, row) in (
        (STATUS_CHANGED, status_row(STATUS_CHANGED)),
        (PUBLISHED, publication_row(PUBLISHED, 5)),
        (NOTIFIED, notification_row(NOTIFIED, 5)),
    ):
        row_record, record = encode_row("t", row), encode("t", data)
        assert json.loads(row_record.value) == json.loads(record.value)
        assert row_record._replace(value=b"") == record._replace(value=b"")
    _table, row = dead_letter_row(LETTER)
    brief = encode("t", LETTER.model_copy(update={"attempts": ()}))
    assert row["type"] == DEAD_LETTER and encode_row("t", row).key == "d"
    assert json.loads(encode_row("t", row).value) == json.loads(brief.value)


def test_a_model_is_written_as_pydantic_writes_it() -> None:
    """The fast encoder writes the same JSON values as the models' own, numbers that are none among them."""
    odd = STATUS_CHANGED.model_copy(update={"duration_s": float("nan"), "message": 'é"\\\n\x00🐈', "attempt": 2**40})
    data: Model
    for data in (*TOLD.values(), odd):
        written = json.loads(encode("t", data).value)["data"]
        assert written == json.loads(data.model_dump_json())
