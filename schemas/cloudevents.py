"""CloudEvents 1.0 at the border: producers' events as Kafka messages are read, and what the pipeline tells is written.

Of the Kafka binding's two modes both are read: structured (the event as JSON) and binary (attributes in `ce_`
headers, the data as JSON). Header values are UTF-8 as they are; only the HTTP binding percent-encodes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from pydantic import ValidationError
from pydantic_core import from_json

from schemas.events import (
    DEAD_LETTER,
    NOTIFICATION,
    PUBLICATION,
    STATUS,
    DeadLetter,
    IngestEvent,
    Notification,
    Publication,
    StatusChanged,
)
from schemas.messages import CONTENT_TYPE, JSON, Headers, Message, Record, media_type, refused, refused_model
from schemas.structs import Received, received
from schemas.usage import UsageEvent, usage_row

MOST_BYTES = 2**20
SOURCE = "asset-pipeline"
STRUCTURED = "application/cloudevents+json"

Told = StatusChanged | Publication | Notification | DeadLetter

_PREFIX = "ce_"
_STRUCTURED: Final = {CONTENT_TYPE: STRUCTURED.encode()}
_TYPES: Final = {StatusChanged: STATUS, Publication: PUBLICATION, Notification: NOTIFICATION, DeadLetter: DEAD_LETTER}


class _Structured(msgspec.Struct, gc=False):
    """An event in structured mode, its attributes in the order in which they are written."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: datetime | msgspec.UnsetType
    traceparent: str | msgspec.UnsetType
    datacontenttype: str
    data: Told | msgspec.Raw


class _Traced(msgspec.Struct, gc=False):
    traceparent: str = ""


_decode_traced = msgspec.json.Decoder(_Traced).decode
# a model is its fields, as pydantic writes it
_encode = msgspec.json.Encoder(enc_hook=vars).encode


def decode_ingest(message: Message) -> Received:
    """The ingest event of a message in either mode. Raises ValueError, naming the field that is wrong."""
    return decode_json(_event_of(message))


def decode_usage(message: Message) -> dict[str, Any]:
    """The row of `usage_events` of a message in either mode. Raises ValueError, naming the field that is wrong."""
    raw = _event_of(message)
    _check_size(raw)
    return usage_row(raw)


def _event_of(message: Message) -> bytes:
    """The event's JSON in structured mode."""
    if message.value is None:
        raise ValueError("no value: a tombstone is no event")
    return _structured(message.headers, message.value)


def decode_json(raw: bytes) -> Received:
    """The ingest event of structured JSON. Raises ValueError, naming the field that is wrong."""
    _check_size(raw)
    try:
        return received(raw)
    except ValidationError as error:
        raise refused_model(error) from None


def _check_size(value: bytes) -> None:
    if len(value) > MOST_BYTES:
        raise ValueError(f"{len(value)} bytes, limit {MOST_BYTES}")


def _structured(headers: Headers, value: bytes) -> bytes:
    """The event's JSON: in structured mode the value; in binary mode made of the headers and the value."""
    kind = media_type(headers)
    if kind == STRUCTURED:
        return value
    attributes = {name.removeprefix(_PREFIX): text for name, text in headers.items() if name.startswith(_PREFIX)}
    if not kind and not attributes:
        return value
    if kind not in ("", JSON) or not attributes:
        raise refused(CONTENT_TYPE, f"send {STRUCTURED}, one event a message, or {JSON} with ce_ headers; not {kind}")
    return _enveloped(attributes, value)


def _enveloped(attributes: Mapping[str, bytes], value: bytes) -> bytes:
    _check_size(value)
    try:
        from_json(value, allow_inf_nan=False)  # text that goes on after its JSON could add attributes
    except ValueError as error:
        raise refused("data", error) from None
    # a header `ce_data` takes the data's place, and is refused as text
    return _encode({"data": msgspec.Raw(value), **{name: _text(name, text) for name, text in attributes.items()}})


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise refused(f"{_PREFIX}{name}", "not UTF-8") from None


def encode(topic: str, data: Told) -> Record:
    """What the pipeline tells, in structured mode, keyed by the asset's id; a dead letter by its own."""
    kind = _TYPES[type(data)]
    letter = data.dead_letter_id if type(data) is DeadLetter else ""
    at_ms = data.at_ms if type(data) is StatusChanged else 0
    trace = data.traceparent if isinstance(data, (StatusChanged, DeadLetter)) else ""
    event = _event(kind, letter or data.event_id, data.asset_id, at_ms, data, trace)
    return Record(topic, letter or data.asset_id, event, _STRUCTURED)


def encode_row(topic: str, row: Mapping[str, Any]) -> Record:
    """The same of a row of the table `events`, which has the data as JSON text."""
    event_id, asset_id, kind = row["event_id"], row["asset_id"], row["type"]
    data = row["data"]
    event = _event(kind, event_id, asset_id, row["at_ms"], msgspec.Raw(data), _decode_traced(data).traceparent)
    return Record(topic, event_id if kind == DEAD_LETTER else asset_id, event, _STRUCTURED)


def _event(kind: str, event_id: str, asset_id: str, at_ms: int, data: Told | msgspec.Raw, trace: str) -> bytes:
    time = datetime.fromtimestamp(at_ms / 1000, UTC) if at_ms else msgspec.UNSET
    return _encode(_Structured("1.0", event_id, SOURCE, kind, asset_id, time, trace or msgspec.UNSET, JSON, data))


def encode_ingest(topic: str, event: IngestEvent | UsageEvent, binary: bool = False) -> Record:
    """A producer's event, keyed by the asset's id, in structured or binary mode. Empty attributes are left out."""
    key, attributes = event.data.asset_id, {name: value for name, value in event if value and name != "data"}
    if not binary:
        return Record(topic, key, _encode({**attributes, "data": event.data}), _STRUCTURED)
    headers = {f"{_PREFIX}{name}": _header(value) for name, value in attributes.items() if name != "datacontenttype"}
    return Record(topic, key, _encode(event.data), {CONTENT_TYPE: JSON.encode(), **headers})


def _header(value: str | datetime) -> bytes:
    return value.encode() if isinstance(value, str) else _encode(value).strip(b'"')
