"""What a producer in another language is given: valid by the standards' own validators, true, and enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import node
import pytest

from schemas import documents, ids
from schemas.asyncapi import EVENTS, RECEIVED, channel_name, topic_of
from schemas.cloudevents import JSON, decode_ingest
from schemas.examples import BINARY, EXAMPLES
from schemas.messages import CONTENT_TYPE, Message, Record
from schemas.topics import BORDER, INGEST

SPECIFICATION = Path(__file__).parent / "data" / "asyncapi-3.0.0.json"
DOCUMENT: dict[str, Any] = json.loads((documents.FOLDER / "asyncapi.json").read_text())
MESSAGES = {**EXAMPLES, "ingest-event-binary": BINARY}


def test_the_document_is_valid_under_the_standards_schema() -> None:
    """The document is valid under the official JSON Schema of AsyncAPI 3.0.0, bindings included."""
    jsonschema.Draft7Validator(json.loads(SPECIFICATION.read_text())).validate(DOCUMENT)


@pytest.mark.tool("node")
def test_the_standards_parser_reads_the_document() -> None:
    """AsyncAPI's own parser finds no error and nothing to warn of, its examples included."""
    done = node.run("validate.mjs", str(documents.FOLDER / "asyncapi.json"))
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("name", MESSAGES)
def test_each_example_is_what_its_message_says(name: str) -> None:
    """Headers, key and payload of a message as it is written are those that the document describes."""
    example, message = MESSAGES[name], DOCUMENT["components"]["messages"][name]
    (shown,) = message["examples"]
    assert shown["headers"] == {k: v.decode() for k, v in example.headers.items()}
    assert shown["payload"] == json.loads(example.value)
    assert message["contentType"] == shown["headers"][CONTENT_TYPE]
    assert message["bindings"]["kafka"]["key"]["examples"] == [example.key]
    for schema, value in ((message["headers"], shown["headers"]), (message["payload"], shown["payload"])):
        jsonschema.Draft7Validator(schema | {"components": DOCUMENT["components"]}).validate(value)


def test_an_event_without_its_headers_is_refused() -> None:
    """The document demands of a binary message what CloudEvents demands, and the right content type."""
    schema = DOCUMENT["components"]["messages"]["ingest-event-binary"]["headers"]
    headers = {name: value.decode() for name, value in BINARY.headers.items()}
    for bad in (headers | {CONTENT_TYPE: "text/plain"}, {k: v for k, v in headers.items() if k != "ce_id"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft7Validator(schema).validate(bad)


def test_both_modes_are_the_same_event() -> None:
    """The examples of structured and binary mode are read as one event, whose key is the asset's id."""
    first, second = (decode_ingest(_received(record)) for record in (EXAMPLES["ingest-event"], BINARY))
    assert first.event() == second.event()
    assert {first.asset_id} == {EXAMPLES["ingest-event"].key, BINARY.key, first.event().subject}
    request = first.event().data
    assert first.asset_id == ids.asset_id(request.tenant, request.idempotency_key)
    assert BINARY.headers[CONTENT_TYPE] == JSON.encode()


def _received(record: Record) -> Message:
    return Message(record.topic, 0, 0, record.key.encode(), record.value, record.headers)


def test_the_channels_are_the_topics_of_the_border() -> None:
    """There is a channel for each topic that others read or write, by its name, and only ingest is written by them."""
    assert {topic_of(name) for name in EVENTS} == {INGEST, *BORDER}
    for name in EVENTS:
        channel = DOCUMENT["channels"][channel_name(name)]
        assert channel["address"] == f"{{prefix}}{topic_of(name).name}"
        action = "receive" if name in RECEIVED else "send"
        assert DOCUMENT["operations"][f"{action}-{channel_name(name)}"]["action"] == action
    assert {name for name in EVENTS if topic_of(name) == INGEST} == RECEIVED
