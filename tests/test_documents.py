"""The documents of events and channels: valid, of this version of the models, and true of real events."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from schemas import documents, ids
from schemas.asset import Declared, IngestRequest, Source
from schemas.base import Model
from schemas.errors import CODES, State
from schemas.events import (
    Attempt,
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
from schemas.pipelines import Pipeline

SPECIFICATION = Path(__file__).parent / "data" / "asyncapi-3.0.0.json"

REQUEST = IngestRequest(
    source=Source(uri="file:///in/a.png", name="a.png"), idempotency_key="k", declared=Declared(title="A", tags=("x",))
)
WHO: dict[str, Any] = {"asset_id": REQUEST.asset_id, "tenant": "default"}
JOB = {**WHO, "job_id": ids.job_id(REQUEST.asset_id, "p")}
FAILED: dict[str, Any] = {"state": State.FAILED, "code": "truncated", "message": CODES["truncated"].sentence}
LETTER = DeadLetter(
    dead_letter_id="d", stage="validate", event_id="e", input=REQUEST, attempts=(Attempt(number=1, code="truncated"),),
    **JOB, **FAILED,
)  # fmt: skip
ENVELOPE: dict[str, Any] = {"id": "e", "source": "test", "subject": REQUEST.asset_id, "time": datetime.now(UTC)}
EXAMPLES: dict[str, Model] = {
    "ingest-event": IngestEvent(data=REQUEST, **ENVELOPE),
    "status-event": StatusEvent(data=StatusChanged.of(stage="derive", state=State.COMPLETED, **JOB), **ENVELOPE),
    "publication-event": PublicationEvent(
        data=Publication(event_id="p", channel="folder", manifest_version=1, url="file:///out", **JOB), **ENVELOPE
    ),
    "notification-event": NotificationEvent(data=Notification(event_id="n", owner="o", **WHO, **FAILED), **ENVELOPE),
    "dead-letter-event": DeadLetterEvent(data=LETTER, **ENVELOPE),
    "pipeline": Pipeline(),
}


def validator(name: str) -> jsonschema.Draft202012Validator:
    """A validator of the committed schema, formats too."""
    schema = json.loads((documents.FOLDER / f"{name}.schema.json").read_text())
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def test_the_committed_documents_are_those_of_the_models() -> None:
    """`python -m schemas.documents` would change nothing, and no other document lies there."""
    there = {path.name: path.read_text() for path in documents.FOLDER.iterdir()}
    assert there == documents.documents()


@pytest.mark.parametrize("name", documents.MODELS)
def test_every_schema_is_one(name: str) -> None:
    """Each JSON Schema is valid under its own dialect's meta schema."""
    found = validator(name)
    assert found.schema["$id"] == f"urn:asset-pipeline:schema:{name}:1"
    found.check_schema(found.schema)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_a_model_writes_its_schema_takes(name: str) -> None:
    """An event as it is sent is valid, and one with a field of nobody's is not."""
    written = json.loads(EXAMPLES[name].model_dump_json(exclude_none=True))
    validator(name).validate(written)
    with pytest.raises(jsonschema.ValidationError):
        validator(name).validate(written | {"nobody": 1})


def test_a_bad_event_is_refused_by_the_schema() -> None:
    """A tenant that the model refuses, the schema refuses too."""
    written = json.loads(EXAMPLES["ingest-event"].model_dump_json())
    written["data"]["tenant"] = "../other"
    with pytest.raises(jsonschema.ValidationError, match="does not match"):
        validator("ingest-event").validate(written)


def test_the_asyncapi_document_is_valid() -> None:
    """The document is valid under the official JSON Schema of AsyncAPI 3.0.0."""
    specification = json.loads(SPECIFICATION.read_text())
    jsonschema.Draft7Validator(specification).validate(documents.asyncapi())


def test_the_asyncapi_schemas_take_the_events() -> None:
    """Each channel's message takes the event of its type, with every reference resolved in the document."""
    document = documents.asyncapi()
    assert set(document["channels"]) == set(documents.TOPICS)
    for topic in documents.TOPICS.values():
        schema = {"$ref": f"#/components/schemas/{topic.schema}", "components": document["components"]}
        event = json.loads(EXAMPLES[topic.schema].model_dump_json(exclude_none=True))
        assert event["type"] == topic.type
        jsonschema.Draft7Validator(schema).validate(event)


def test_only_ingest_is_received() -> None:
    """The application receives ingest events, and sends all others."""
    operations = documents.asyncapi()["operations"].values()
    received = [o["channel"]["$ref"] for o in operations if o["action"] == "receive"]
    assert received == ["#/channels/ingest"]
