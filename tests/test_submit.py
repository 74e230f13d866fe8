"""`asset-pipeline submit`: a producer to Kafka, on a real broker and a real object store."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answering import accepts, answering, completes, told
from buckets import bucket
from kafka_fixtures import counted, everything, kafka  # noqa: F401  (a fixture)
from typer.testing import CliRunner, Result

import sinks.kafka
from chaos.servers import S3, S3_KEY, S3_SECRET, free_ports
from dataflows import following
from dataflows.cli import app
from dataflows.connections import objects_of
from dataflows.options import NOT_ALL, USAGE
from operators.stages.dead_letter import letter_key
from operators.stages.ingest import original_key
from schemas.cloudevents import STRUCTURED, decode_ingest
from schemas.errors import State
from schemas.events import DeadLetter, IngestEvent
from schemas.messages import CONTENT_TYPE, Message
from schemas.settings import Settings
from schemas.topics import INGEST
from sources.kafka_admin import KafkaAdmin

pytestmark = pytest.mark.services
DATA = b"not really a picture"
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A bucket of this file's tests."""
    with bucket() as made:
        yield made


@pytest.fixture
def settings(kafka: Settings, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:  # noqa: F811
    """Topics and a place in the bucket of the test's own, in the environment too."""
    services = {
        "objects": f"{url}/{tmp_path.name}-{kafka.topic_prefix}", "s3_endpoint": S3, "s3_access_key": S3_KEY,
        "s3_secret_key": S3_SECRET, "events": kafka.events, "topic_prefix": kafka.topic_prefix,
    }  # fmt: skip
    for name, value in services.items():
        monkeypatch.setenv(f"ASSET_PIPELINE_{name.upper()}", value)
    monkeypatch.chdir(tmp_path)
    return Settings()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A file that is a picture by its name."""
    path = tmp_path / "a picture.png"
    path.write_bytes(DATA)
    return path


def submit(*arguments: str | Path) -> Result:
    """The command, in this process."""
    return CliRunner().invoke(app, ["submit", *map(str, arguments)], catch_exceptions=False)


def rows(done: Result) -> list[dict[str, Any]]:
    """The lines of --json."""
    return [json.loads(line) for line in done.stdout.splitlines()]


def sent(settings: Settings, count: int) -> list[IngestEvent]:
    """The events on the ingest topic, in the order of their times."""
    messages = everything(settings, INGEST, counted(count))
    found = []
    for m in messages:
        headers = dict(m.headers() or ())
        read = decode_ingest(Message(m.topic(), m.partition(), m.offset(), m.key(), m.value(), headers))
        assert (m.key() or b"").decode() == read.asset_id and headers[CONTENT_TYPE] == STRUCTURED.encode()
        found.append(read.event())
    assert len(found) == count
    return sorted(found, key=lambda event: str(event.time))


def nothing_was_sent(settings: Settings) -> bool:
    """Whether the ingest topic is empty."""
    return not any(KafkaAdmin(settings).end_offsets(INGEST).values())


def test_a_file_is_uploaded_and_named(settings: Settings, picture: Path) -> None:
    """The bytes lie in the store under their digest, and the event names them, under the asset's id."""
    done = submit(picture, "--json", "--tenant", "acme", "--title", "A")
    assert done.exit_code == 0, done.output
    (event,) = sent(settings, 1)
    source, request = event.data.source, event.data
    assert (source.stored, source.sha256, source.name) == (SHA, SHA, picture.name)
    assert (request.tenant, request.declared.title, request.pipeline) == ("acme", "A", "default")
    store = objects_of(settings)
    assert asyncio.run(store.read("acme", SHA)) == DATA
    assert asyncio.run(store.get(original_key("acme", SHA, request.asset_id))) is not None
    (row,) = rows(done)
    assert (row["asset_id"], row["event_id"], row["state"]) == (request.asset_id, event.id, "pending")


def test_a_second_submission_is_the_same_asset_and_uploads_nothing(settings: Settings, picture: Path) -> None:
    """The same file again is the same asset with the same payload under another event id; its object stays."""
    assert submit(picture).exit_code == 0
    key = f"objects/default/{SHA[:2]}/{SHA}"
    bucket_of = objects_of(settings)._bucket  # type: ignore[attr-defined]
    before = asyncio.run(bucket_of.call("head_object", key))["LastModified"]
    assert submit(picture).exit_code == 0
    first, second = sent(settings, 2)
    assert first.id != second.id and first.data == second.data
    assert asyncio.run(bucket_of.call("head_object", key))["LastModified"] == before


def test_a_folder_gives_its_media(settings: Settings, tmp_path: Path) -> None:
    """Each media file of a folder is sent; what is no media by its name is left out, and said to be."""
    folder = tmp_path / "media"
    (folder / "below").mkdir(parents=True)
    for name in ("a.png", "below/b.mp4", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    done = submit(folder)
    assert done.exit_code == 0 and "left out" in done.stderr and "notes.txt" in done.stderr
    assert {event.data.source.name for event in sent(settings, 2)} == {"a.png", "b.mp4"}


def test_what_cannot_be_read_is_refused_and_costs_the_others_nothing(settings: Settings, tmp_path: Path) -> None:
    """A link that leads nowhere, a link out of the folder and an empty file are told with their codes; not sent."""
    folder = tmp_path / "media"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(DATA)
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "empty.png").touch()
    (folder / "fine.png").write_bytes(DATA)
    done = submit(folder, "--json")
    assert done.exit_code == NOT_ALL
    codes = {row["asset"]: row["code"] for row in rows(done)}
    assert codes == {
        "gone.png": "source_missing", "out.png": "path_outside_input", "empty.png": "empty_file", "fine.png": "",
    }  # fmt: skip
    assert [event.data.source.name for event in sent(settings, 1)] == ["fine.png"]


def test_a_url_is_only_named(settings: Settings) -> None:
    """A URL is not fetched by the producer: ingest does that, and says what is wrong with it."""
    assert submit("https://127.0.0.1:9/a%20b.png", "--idempotency-key", "mine").exit_code == 0
    (event,) = sent(settings, 1)
    assert event.data.source.uri == "https://127.0.0.1:9/a%20b.png" and event.data.source.sha256 == ""
    assert event.data.idempotency_key == "mine"


def test_usage(settings: Settings, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be meant is refused before anything is sent, with a sentence."""
    for arguments, why in [
        ([picture, "--pipeline", "nobody's"], "no pipeline named"),
        ([picture, picture, "--idempotency-key", "k"], "single file or URL"),
        ([picture.parent, "--title", "k"], "single file or URL"),
        ([picture, "--tenant", "Not One"], "tenant"),
        ([picture, "nowhere.png"], "there is no nowhere.png"),
    ]:
        done = submit(*arguments)
        assert done.exit_code == USAGE and why in done.stderr, done.output
    done = CliRunner().invoke(app, ["run", str(picture)])
    assert done.exit_code == USAGE and "use `submit`" in done.stderr
    monkeypatch.delenv("ASSET_PIPELINE_EVENTS")
    done = submit(picture)
    assert done.exit_code == USAGE and "ASSET_PIPELINE_EVENTS" in done.stderr
    assert nothing_was_sent(settings)


@pytest.mark.parametrize("service", ["EVENTS", "S3_ENDPOINT"])
def test_a_service_that_is_away_is_said_to_be(
    service: str, settings: Settings, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the broker or the object store the command ends soon, with exit code 3 and a sentence."""
    monkeypatch.setattr(sinks.kafka, "COMMANDS_PATIENCE_S", 2.0)
    scheme = "kafka" if service == "EVENTS" else "http"
    monkeypatch.setenv(f"ASSET_PIPELINE_{service}", f"{scheme}://127.0.0.1:{free_ports(1)[0]}")
    done = submit(picture)
    assert done.exit_code == NOT_ALL and "error: " in done.stderr, done.output
    assert ("Kafka does not answer" if scheme == "kafka" else "store_unavailable") in done.stderr
    assert nothing_was_sent(settings)


def test_wait_follows_each_asset_to_its_end(settings: Settings, tmp_path: Path) -> None:
    """The command ends when every asset has, with a line for each step and exit code 3 where one has failed."""
    names = [f"{n}.png" for n in range(6)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())

    def answer(event: IngestEvent) -> Any:
        if event.data.source.name != "3.png":
            return completes(event)
        return accepts(event, told(event, "validate", State.FAILED, code="truncated"))

    with answering(settings, answer):
        done = submit(*(tmp_path / name for name in names), "--wait", "--timeout", "60", "--json")
    assert done.exit_code == NOT_ALL
    assert [(row["asset"], row["state"]) for row in rows(done)] == [
        (name, "failed" if name == "3.png" else "completed") for name in names
    ]
    assert rows(done)[3]["code"] == "truncated" and "truncated" in done.stderr
    assert all(f"✓ {name}  ingest fetch" in done.stderr for name in names)


def test_wait_ends_at_its_timeout(settings: Settings, picture: Path) -> None:
    """Where nobody answers, the wait ends when it was told to, and says what is left."""
    done = submit(picture, "--wait", "--timeout", "0.5", "--json")
    assert done.exit_code == NOT_ALL and "1 have not ended yet" in done.stderr
    assert rows(done)[0]["state"] == "pending" and len(sent(settings, 1)) == 1


def test_an_interrupt_ends_the_wait_only(settings: Settings, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while it waits leaves the asset to the flows, and says so."""

    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(following, "follow", interrupted)
    done = submit(picture, "--wait", "--json")
    assert done.exit_code == NOT_ALL and "1 have not ended yet" in done.stderr
    assert rows(done)[0]["state"] == "pending"


def test_a_duplicate_has_the_state_of_the_asset_that_exists(settings: Settings, picture: Path) -> None:
    """A second submission while the first is worked on waits for the asset's end, and has its state."""
    first: list[IngestEvent] = []

    def answer(event: IngestEvent) -> Any:
        if not first:
            first.append(event)
            return accepts(event, told(event, "validate", State.COMPLETED))
        duplicate = told(event, "ingest", State.DUPLICATE, answer=True)
        return [duplicate, told(first[0], "publish", State.COMPLETED)]

    with answering(settings, answer):
        assert submit(picture, "--wait", "--timeout", "0.5").exit_code == NOT_ALL
        done = submit(picture, "--wait", "--timeout", "60", "--json")
    assert done.exit_code == 0, done.output
    assert (rows(done)[0]["state"], rows(done)[0]["existing"]) == ("duplicate", "completed")


def letter_of(event: IngestEvent) -> DeadLetter:
    """The dead letter of an event that failed."""
    asset = event.data.asset_id
    return DeadLetter(
        dead_letter_id="letter", asset_id=asset, job_id="job", tenant=event.data.tenant, stage="derive",
        state=State.FAILED, code="internal", message="", event_id=event.id, input=event.data,
    )  # fmt: skip


def test_a_dead_letters_asset_is_sent_as_its_replay(settings: Settings, picture: Path) -> None:
    """A file whose asset ended in a dead letter is sent as its replay, whether submitted again or replayed."""
    assert submit(picture).exit_code == 0
    (event,) = sent(settings, 1)
    letter = letter_of(event)
    asyncio.run(objects_of(settings).create(letter_key(letter), letter.model_dump_json().encode()))
    with answering(settings, completes) as seen:
        done = submit(picture, "--wait", "--timeout", "60", "--json")
        again = submit(picture, "--wait", "--timeout", "60")
    assert done.exit_code == again.exit_code == 0, done.output
    assert [(e.data.replay_of, e.data.generation) for e in seen] == [("letter", 1)] * 2
    assert seen[0].id == seen[1].id == rows(done)[0]["event_id"]
    assert seen[0].data.source == event.data.source


def test_replay_sends_to_the_flows(
    settings: Settings, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`replay` sends the dead letters of assets to the ingest topic, and runs nothing itself."""
    from dataflows import queries

    assert submit(picture).exit_code == 0
    (event,) = sent(settings, 1)
    letter = letter_of(event)
    asyncio.run(objects_of(settings).create(letter_key(letter), letter.model_dump_json().encode()))
    monkeypatch.setattr(queries, "named", lambda _settings, name: [name])
    done = CliRunner().invoke(app, ["replay", event.data.asset_id], catch_exceptions=False)
    assert done.exit_code == 0 and "sent through again: 1 assets" in done.stderr, done.output
    assert [e.data.replay_of for e in sent(settings, 2)].count("letter") == 1
    assert not (tmp_path / "out" / "inbox").exists()
