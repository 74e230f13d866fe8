"""The AsyncAPI 3.0.0 document of the topics at the border: what a producer or consumer in any language needs.

Events are CloudEvents 1.0 under their Kafka binding: structured mode, and for producers binary mode as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from schemas.cloudevents import JSON, MOST_BYTES, STRUCTURED
from schemas.events import DeadLetterEvent, IngestEvent, NotificationEvent, PublicationEvent, StatusEvent
from schemas.examples import BINARY, EXAMPLES
from schemas.ids import NAMESPACE
from schemas.messages import CONTENT_TYPE, Record
from schemas.topics import OF_EVENT, Topic
from schemas.usage import UsageEvent

Event = type[IngestEvent | UsageEvent | StatusEvent | PublicationEvent | NotificationEvent | DeadLetterEvent]
Document = dict[str, Any]

VERSION = "1.1.0"
BINDING = "0.5.0"
# document name -> model
EVENTS: Final[dict[str, Event]] = {
    "ingest-event": IngestEvent,
    "usage-event": UsageEvent,
    "status-event": StatusEvent,
    "publication-event": PublicationEvent,
    "notification-event": NotificationEvent,
    "dead-letter-event": DeadLetterEvent,
}
RECEIVED: Final = frozenset({"ingest-event", "usage-event"})
_KEYS: Final = {
    "asset_id": f"The asset's id: UUIDv5 (RFC 9562) in the namespace {NAMESPACE} of the UTF-8 text `asset`, NUL, "
    "tenant, NUL, idempotency key. An asset's messages lie in one partition, in order.",
    "dead_letter_id": "The dead letter's id.",
}
_ABOUT: Final = {
    "ingest-event": "Deliveries may repeat: the first event of an idempotency key stands, and the same payload under "
    "another event id is a duplicate. The source is an http(s) URL, or a file that was put into the object store "
    "before, under `objects/<tenant>/<first two digits of its SHA-256>/<SHA-256>`, and is named "
    f"`object:sha256:<SHA-256>/<file name>`. At most {MOST_BYTES} bytes; what cannot be read becomes a dead letter.",
    "usage-event": "Deliveries may repeat, and come late and in any order: an event counts once by its tenant, source, "
    "id and time, in the window of its time. `derived` names the asset that was made in `derived_asset_id`; credit "
    "goes to the parents that an asset was submitted with. A price is of the whole quantity, in minor units. At most "
    f"{MOST_BYTES} bytes; what cannot be read becomes a dead letter.",
    "status-event": "Deliveries may repeat, with the same id. Ingest answers under the ingest event's id as `job_id`: "
    "completed (accepted), duplicate, rejected or failed. What follows has the job's own id; the job has ended once a "
    "whole stage (its `step` is empty) has failed or was rejected, or the stage `publish` is completed.",
}


def asyncapi() -> Document:
    """The document. An event's JSON Schema in it is the same as in its own file."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:asset-pipeline",
        "info": {
            "title": "Asset pipeline",
            "version": VERSION,
            "description": "Events at the border: CloudEvents 1.0 in messages of Kafka.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": STRUCTURED,
        "servers": _servers(),
        "channels": {channel_name(name): _channel(name) for name in EVENTS},
        "operations": {f"{_action(name)}-{channel_name(name)}": _operation(name) for name in EVENTS},
        "components": {
            "messages": {name: _message(name) for name in EVENTS}
            | {f"{name}-binary": _binary_message(name) for name in EVENTS if name in RECEIVED},
            "schemas": _components(),
            "securitySchemes": {
                "scram": {"type": "scramSha512", "description": "SASL/SCRAM-SHA-512 over TLS."},
                "certificate": {"type": "X509", "description": "A client's certificate (mutual TLS)."},
            },
        },
    }


def topic_of(name: str) -> Topic:
    """The topic that an event is told on."""
    return OF_EVENT[EVENTS[name].model_fields["type"].default]


def channel_name(name: str) -> str:
    """The channel of an event: its topic's name without what all topics begin with."""
    return topic_of(name).name.removeprefix("assets.")


def _action(name: str) -> str:
    """What this application does on the channel."""
    return "receive" if name in RECEIVED else "send"


def _messages(name: str) -> list[str]:
    return [name, f"{name}-binary"] if name in RECEIVED else [name]


def _servers() -> Document:
    bootstrap = {"description": "The brokers' addresses.", "default": "127.0.0.1:9092"}
    shared = {"host": "{bootstrap}", "variables": {"bootstrap": bootstrap}}
    schemes = [{"$ref": f"#/components/securitySchemes/{scheme}"} for scheme in ("scram", "certificate")]
    return {
        "plain": {**shared, "protocol": "kafka", "description": "Brokers on a network of their own."},
        "secure": {**shared, "protocol": "kafka-secure", "description": "Brokers behind TLS.", "security": schemes},
    }


def _channel(name: str) -> Document:
    topic = topic_of(name)
    configuration = {
        "cleanup.policy": ["compact", "delete"] if topic.compacted else ["delete"],
        "max.message.bytes": topic.most_bytes,
    }
    return {
        "address": f"{{prefix}}{topic.name}",
        "description": " ".join(filter(None, (topic.description, _ABOUT.get(name)))),
        "parameters": {"prefix": {"description": "The deployment's prefix with a dot, if it has one.", "default": ""}},
        "messages": {found: {"$ref": f"#/components/messages/{found}"} for found in _messages(name)},
        "bindings": {"kafka": {"topicConfiguration": configuration, "bindingVersion": BINDING}},
    }


def _operation(name: str) -> Document:
    channel = f"#/channels/{channel_name(name)}"
    return {
        "action": _action(name),
        "channel": {"$ref": channel},
        "summary": topic_of(name).description,
        "messages": [{"$ref": f"{channel}/messages/{found}"} for found in _messages(name)],
    }


def _message(name: str) -> Document:
    headers = {CONTENT_TYPE: {"const": STRUCTURED}}
    payload = {"$ref": f"#/components/schemas/{name}"}
    return _described(name, name, STRUCTURED, headers, payload, EXAMPLES[name])


def _binary_message(name: str) -> Document:
    """The event's attributes as headers, its data as the value."""
    schema = EVENTS[name].model_json_schema()
    headers = {
        f"ce_{attribute}": found
        for attribute, found in schema["properties"].items()
        if attribute not in ("data", "datacontenttype")
    }
    headers["ce_specversion"], headers["ce_type"] = {"const": "1.0"}, {"const": headers["ce_type"]["const"]}
    headers["ce_time"] = {"type": "string", "format": "date-time"}
    return _described(
        name, f"{name}-binary", JSON, {CONTENT_TYPE: {"const": JSON}, **headers},
        {"$ref": schema["properties"]["data"]["$ref"].replace("$defs", "components/schemas")}, BINARY[name],
    )  # fmt: skip


def _described(
    name: str, message: str, content_type: str, headers: Document, payload: Document, example: Record
) -> Document:
    required = ["id", "source", "specversion", "type"] if content_type == JSON else []
    if required and EVENTS[name].model_fields["time"].is_required():
        required.append("time")
    return {
        "name": message,
        "title": str(EVENTS[name].__doc__).strip().splitlines()[0],
        "contentType": content_type,
        "headers": {
            "type": "object",
            "properties": headers,
            "required": [CONTENT_TYPE, *(f"ce_{attribute}" for attribute in required)],
        },
        "payload": payload,
        "bindings": {"kafka": {"key": _key(name), "bindingVersion": BINDING}},
        "examples": [{"headers": _texts(example), "payload": json.loads(example.value)}],
    }


def _key(name: str) -> Document:
    return {
        "type": "string",
        "format": "uuid",
        "description": _KEYS[topic_of(name).key],
        "examples": [EXAMPLES[name].key],
    }


def _texts(example: Record) -> dict[str, str]:
    return {name: value.decode() for name, value in example.headers.items()}


def _components() -> Document:
    """The events' schemas and those that they refer to, each once: AsyncAPI reads them as draft 7, without $defs."""
    found: Document = {}
    for name, model in EVENTS.items():
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        parts: Mapping[str, Any] = schema.pop("$defs", {})
        for part_name, part in {**parts, name: schema}.items():
            if found.setdefault(part_name, part) != part:
                raise ValueError(f"two schemas are named {part_name}")
    return found
