"""JSON Schemas of all that crosses the border, and one AsyncAPI document of the channels, from the models.

`python -m schemas.documents` writes them beside this file, into `documents/`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from schemas.events import (
    DEAD_LETTER,
    INGEST,
    NOTIFICATION,
    PUBLICATION,
    STATUS,
    DeadLetterEvent,
    IngestEvent,
    NotificationEvent,
    PublicationEvent,
    StatusEvent,
)
from schemas.manifest import Manifest
from schemas.openlineage import FileDatasetFacet, StepRunFacet
from schemas.pipelines import Pipeline

FOLDER = Path(__file__).parent / "documents"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
URN = "urn:asset-pipeline:schema"
VERSION = "1.0.0"

# file name -> model, and the version of its form
MODELS: dict[str, type[BaseModel]] = {
    "ingest-event": IngestEvent,
    "status-event": StatusEvent,
    "publication-event": PublicationEvent,
    "notification-event": NotificationEvent,
    "dead-letter-event": DeadLetterEvent,
    "manifest": Manifest,
    "pipeline": Pipeline,
    "openlineage-step-run-facet": StepRunFacet,
    "openlineage-file-dataset-facet": FileDatasetFacet,
}


class Topic(NamedTuple):
    """A channel of events: `action` is what this application does on it."""

    type: str
    schema: str
    action: str
    summary: str


TOPICS: dict[str, Topic] = {
    "ingest": Topic(INGEST, "ingest-event", "receive", "Producers ask for assets to be taken in."),
    "status": Topic(STATUS, "status-event", "send", "Every change of state of a step or a stage."),
    "publication": Topic(
        PUBLICATION, "publication-event", "send", "Receipts of the channels that assets are published to."
    ),
    "notification": Topic(
        NOTIFICATION, "notification-event", "send", "What owners are told of assets that did not complete."
    ),
    "dead-letters": Topic(DEAD_LETTER, "dead-letter-event", "send", "Inputs that ended badly, with all attempts."),
}


def json_schema(name: str) -> dict[str, Any]:
    """A model's JSON Schema, draft 2020-12."""
    schema = MODELS[name].model_json_schema(by_alias=True, mode="validation")
    return {"$schema": DIALECT, "$id": f"{URN}:{name}:1", **schema}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0.0 document. Events are CloudEvents 1.0 in structured mode, keyed by the asset's id."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:asset-pipeline",
        "info": {
            "title": "Asset pipeline",
            "version": VERSION,
            "description": "Events at the border: CloudEvents 1.0 JSON, structured mode, keyed by asset id.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {name: _channel(name, topic) for name, topic in TOPICS.items()},
        "operations": {_operation_name(name, topic): _operation(name, topic) for name, topic in TOPICS.items()},
        "components": {
            "messages": {topic.schema: _message(topic) for topic in TOPICS.values()},
            "schemas": _components(),
        },
    }


def _channel(name: str, topic: Topic) -> dict[str, Any]:
    messages = {topic.schema: {"$ref": f"#/components/messages/{topic.schema}"}}
    return {"address": f"assets.{name}", "description": topic.summary, "messages": messages}


def _operation_name(name: str, topic: Topic) -> str:
    return f"{topic.action}-{name}"


def _operation(name: str, topic: Topic) -> dict[str, Any]:
    return {
        "action": topic.action,
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": topic.summary,
        "messages": [{"$ref": f"#/channels/{name}/messages/{topic.schema}"}],
    }


def _message(topic: Topic) -> dict[str, Any]:
    return {
        "name": topic.type,
        "title": _title(MODELS[topic.schema]),
        "contentType": "application/cloudevents+json",
        "payload": {"$ref": f"#/components/schemas/{topic.schema}"},
    }


def _title(model: type[BaseModel]) -> str:
    return str(model.__doc__).strip().splitlines()[0]


def _components() -> dict[str, Any]:
    """The events' schemas and those that they refer to, each once: AsyncAPI reads them as draft 7, without $defs."""
    found: dict[str, Any] = {}
    for topic in TOPICS.values():
        schema = MODELS[topic.schema].model_json_schema(ref_template="#/components/schemas/{model}")
        parts: Mapping[str, Any] = schema.pop("$defs", {})
        for name, part in {**parts, topic.schema: schema}.items():
            if found.setdefault(name, part) != part:
                raise ValueError(f"two schemas are named {name}")
    return found


def documents() -> dict[str, str]:
    """All documents as text, by file name; the same for the same models."""
    found = {f"{name}.schema.json": json_schema(name) for name in MODELS} | {"asyncapi.json": asyncapi()}
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in found.items()}


def main() -> None:
    """Writes the documents, and removes what is none."""
    FOLDER.mkdir(exist_ok=True)
    wanted = documents()
    for path in FOLDER.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
