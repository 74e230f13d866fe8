"""What a producer in another language is given: valid by the standards' own validators, true, and enough."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import node
import pytest
from buckets import ACCOUNT, bucket
from flow_runs import picture
from kafka_fixtures import topics_on
from pydantic import SecretStr

from chaos.servers import KAFKA, S3, S3_KEY, S3_SECRET
from dataflows.connections import objects_of
from operators.stages.register import current_manifest
from schemas import documents, ids
from schemas.asyncapi import EVENTS, RECEIVED, channel_name, topic_of
from schemas.cloudevents import JSON, decode_ingest
from schemas.examples import BINARY, EXAMPLES
from schemas.messages import CONTENT_TYPE, Message, Record
from schemas.settings import Settings
from schemas.topics import BORDER, INGEST, USAGE
from sinks.s3_bucket import Bucket

SPECIFICATION = Path(__file__).parent / "data" / "asyncapi-3.0.0.json"
DOCUMENT: dict[str, Any] = json.loads((documents.FOLDER / "asyncapi.json").read_text())
MESSAGES = {**EXAMPLES, **{f"{name}-binary": record for name, record in BINARY.items()}}


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


@pytest.mark.parametrize(("name", "missing"), [("ingest-event", "ce_id"), ("usage-event", "ce_time")])
def test_an_event_without_its_headers_is_refused(name: str, missing: str) -> None:
    """The document demands of a binary message what CloudEvents and the event demand, and the right content type."""
    schema = DOCUMENT["components"]["messages"][f"{name}-binary"]["headers"]
    headers = {name: value.decode() for name, value in BINARY[name].headers.items()}
    for bad in (headers | {CONTENT_TYPE: "text/plain"}, {k: v for k, v in headers.items() if k != missing}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft7Validator(schema).validate(bad)


def test_both_modes_are_the_same_event() -> None:
    """The examples of structured and binary mode are read as one event, whose key is the asset's id."""
    first, second = (decode_ingest(_received(record)) for record in (EXAMPLES["ingest-event"], BINARY["ingest-event"]))
    assert first.event() == second.event()
    assert {first.asset_id} == {EXAMPLES["ingest-event"].key, BINARY["ingest-event"].key, first.event().subject}
    request = first.event().data
    assert first.asset_id == ids.asset_id(request.tenant, request.idempotency_key)
    assert BINARY["ingest-event"].headers[CONTENT_TYPE] == JSON.encode()


def _received(record: Record) -> Message:
    return Message(record.topic, 0, 0, record.key.encode(), record.value, record.headers)


def test_the_channels_are_the_topics_of_the_border() -> None:
    """There is a channel for each topic that others read or write, by its name; they write ingest and usage."""
    assert {topic_of(name) for name in EVENTS} == {INGEST, USAGE, *BORDER}
    for name in EVENTS:
        channel = DOCUMENT["channels"][channel_name(name)]
        assert channel["address"] == f"{{prefix}}{topic_of(name).name}"
        action = "receive" if name in RECEIVED else "send"
        assert DOCUMENT["operations"][f"{action}-{channel_name(name)}"]["action"] == action
    assert {name for name in EVENTS if topic_of(name) in (INGEST, USAGE)} == RECEIVED


@dataclass(frozen=True)
class Running:
    """A flow on services of the test's own, and a place whose files it may fetch."""

    settings: Settings
    web: str
    folder: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """All stages in one process, as the README starts them."""
    folder = tmp_path_factory.mktemp("web")
    with ExitStack() as stack:
        port = stack.enter_context(serving(folder))
        given = {
            "objects": stack.enter_context(bucket()), "s3_endpoint": S3, "s3_access_key": S3_KEY,
            "s3_secret_key": S3_SECRET, "url_allowed_networks": f'["127.0.0.1:{port}"]',
            "out": str(tmp_path_factory.mktemp("out")),
        }  # fmt: skip
        topics = stack.enter_context(topics_on(KAFKA))
        given |= {"events": topics.events, "topic_prefix": topics.topic_prefix}
        settings = topics.model_copy(update={**given, "s3_secret_key": SecretStr(S3_SECRET)})
        stack.enter_context(flow({f"ASSET_PIPELINE_{name.upper()}": value for name, value in given.items()}))
        yield Running(settings, f"http://127.0.0.1:{port}", folder)


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """A folder's files over HTTP, on a port of loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def flow(environment: dict[str, str]) -> Iterator[None]:
    """A process with all stages."""
    command = [sys.executable, "-m", "bytewax.run", "dataflows.pipeline:flow"]
    process = subprocess.Popen(command, cwd=node.ROOT, env=os.environ | environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def uploaded(running: Running, data: bytes) -> str:
    """Bytes put into the bucket by a client of S3, where the document says, and the URI that it says."""
    sha256 = hashlib.sha256(data).hexdigest()
    place = Bucket(running.settings.objects, ACCOUNT)
    asyncio.run(place.call("put_object", f"objects/acme/{sha256[:2]}/{sha256}", Body=data))
    return f"object:sha256:{sha256}/a%20picture.png"


@pytest.mark.services
@pytest.mark.tool("node")
@pytest.mark.parametrize("message", ["ingest-event", "ingest-event-binary"])
@pytest.mark.parametrize("place", ["web", "store"])
def test_a_producer_that_knows_only_the_documents(message: str, place: str, running: Running) -> None:
    """A program in Node makes, checks and sends an event from the documents, and follows its asset to `completed`."""
    path = picture(running.folder / "a picture.png", seed=len(message + place))
    uri = f"{running.web}/a%20picture.png" if place == "web" else uploaded(running, path.read_bytes())
    given = {
        "bootstrap": KAFKA, "prefix": f"{running.settings.topic_prefix}.", "message": message, "tenant": "acme",
        "key": f"{message}/{place}", "uri": uri,
    }  # fmt: skip
    done = node.run("producer.mjs", str(documents.FOLDER), json.dumps(given), timeout_s=120)
    assert done.returncode == 0, done.stderr
    end = json.loads(done.stdout)["end"]
    assert (end["stage"], end["state"]) == ("publish", "completed"), end
    manifest = asyncio.run(current_manifest(objects_of(running.settings), "acme", end["asset_id"]))
    assert manifest and manifest.original.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest.metadata.title == "Launch" and manifest.record.request.source.name == "a picture.png"
