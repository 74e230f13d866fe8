"""Topics: their names and partitions, `topics apply` and `offsets` on a real broker."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from kafka_fixtures import kafka, send, topics_on  # noqa: F401
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from chaos.brokers import brokers
from chaos.servers import KAFKA
from chaos.waiting import eventually
from dataflows import topics
from dataflows.cli import app
from schemas import events, usage
from schemas.asset import IngestRequest
from schemas.chunks import ChunkEnd, ChunkTask
from schemas.ids import shard_of
from schemas.settings import Settings
from schemas.topics import (
    CHUNKS,
    CHUNKS_DONE,
    DEAD_LETTERS,
    INGEST,
    OF_EVENT,
    READ_BY,
    STATUS,
    TOPICS,
    VALIDATED,
    client_options,
    full_name,
    group_of,
    partition_of,
)  # fmt: skip
from sources.kafka_admin import Committed, KafkaAdmin

pytestmark = pytest.mark.services


def command(monkeypatch: pytest.MonkeyPatch, settings: Settings, *arguments: str) -> Result:
    monkeypatch.setenv("ASSET_PIPELINE_EVENTS", settings.events)
    monkeypatch.setenv("ASSET_PIPELINE_TOPIC_PREFIX", settings.topic_prefix)
    monkeypatch.setenv("ASSET_PIPELINE_PARTITIONS", str(settings.partitions))
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def fresh() -> Iterator[Settings]:
    """Settings under whose prefix there are no topics; those that a test makes are removed."""
    settings = Settings(events=f"kafka://{KAFKA}", topic_prefix=f"t{uuid.uuid4().hex}", partitions=3)
    yield settings
    admin = AdminClient(dict(client_options(settings)))
    there = [name for name in admin.list_topics(timeout=10).topics if name.startswith(settings.topic_prefix)]
    for future in (admin.delete_topics(there) if there else {}).values():
        future.result()


def configuration(settings: Settings, name: str) -> dict[str, str]:
    admin = AdminClient(dict(client_options(settings)))
    (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)]).values()
    return {key: entry.value for key, entry in future.result().items()}


def test_partitions_are_those_of_the_partitioner_consistent(kafka: Settings):  # noqa: F811
    """A key's partition is the one that a producer in another language gets from librdkafka's `consistent`."""
    rng, placed = random.Random(1), {}
    producer = Producer({**client_options(kafka), "partitioner": "consistent"})
    for n in range(500):
        key = "".join(rng.choices("abcäß漢-0123456789", k=rng.randrange(1, 40))) + str(n)
        producer.produce(
            full_name(kafka, STATUS), b"", key,
            on_delivery=lambda error, message: placed.update({message.key().decode(): message.partition()}),
        )  # fmt: skip
    producer.flush(10)
    assert len(placed) == 500 and placed == {key: partition_of(key, kafka.partitions) for key in placed}
    assert all(int(shard_of(key)) == partition_of(key, 128) for key in placed)


def test_names_have_the_prefix():
    """Topics and groups have the settings' prefix before a dot, or none."""
    plain, prefixed = Settings(topic_prefix=""), Settings(topic_prefix="staging")
    assert (full_name(plain, INGEST), full_name(prefixed, INGEST)) == ("assets.ingest", "staging.assets.ingest")
    assert (group_of(plain, "derive"), group_of(prefixed, "derive")) == ("assets.derive", "staging.assets.derive")
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)


def test_every_event_has_a_topic_and_every_topic_a_key():
    """Each type of event has a topic, keyed by a field that its data has; what a flow reads is declared."""
    data: dict[str, Any] = {
        events.INGEST: IngestRequest, events.STATUS: events.StatusChanged, events.PUBLICATION: events.Publication,
        events.NOTIFICATION: events.Notification, events.DEAD_LETTER: events.DeadLetter,
        usage.USAGE: usage.Usage,
    }  # fmt: skip
    assert OF_EVENT.keys() == data.keys()
    assert all(
        topic.key in data[kind].model_fields or hasattr(data[kind], topic.key) for kind, topic in OF_EVENT.items()
    )
    assert {*OF_EVENT.values(), *READ_BY.values(), CHUNKS_DONE} == set(TOPICS)
    assert CHUNKS.key in ChunkTask.model_fields and CHUNKS_DONE.key in ChunkEnd.model_fields


def test_options_of_clients_carry_secrets_that_settings_hide():
    """Options pass through as they are given, over ours; printed settings do not show them."""
    options = {"sasl.password": SecretStr("hidden"), "client.id": SecretStr("mine")}
    settings = Settings(events="kafka://a:1,b:2/", kafka_options=options)
    made = client_options(settings)
    assert (made["bootstrap.servers"], made["sasl.password"], made["client.id"]) == ("a:1,b:2", "hidden", "mine")
    assert "hidden" not in repr(settings) + str(settings) + settings.model_dump_json()
    with pytest.raises(ValueError, match="ASSET_PIPELINE_EVENTS"):
        client_options(Settings())


def test_apply_creates_and_then_changes_nothing(fresh: Settings):
    """The first run creates every topic as it is declared, the second finds nothing to do."""
    rows = topics.apply(fresh)
    assert [row["topic"] for row in rows] == [full_name(fresh, topic) for topic in TOPICS]
    assert {row["state"] for row in rows} == {"created"} and {row["partitions"] for row in rows} == {3}
    again = topics.apply(fresh)
    assert {row["state"] for row in again} == {"unchanged"} and not any(row["changed"] for row in again)
    ingest = configuration(fresh, full_name(fresh, INGEST))
    assert ingest["max.message.bytes"] == str(16 * 2**20) and ingest["retention.ms"] == str(168 * 3_600_000)
    assert ingest["message.timestamp.type"] == "LogAppendTime" and ingest["cleanup.policy"] == "delete"
    letters = configuration(fresh, full_name(fresh, DEAD_LETTERS))
    assert letters["retention.ms"] == str(4 * 168 * 3_600_000) and letters["cleanup.policy"] == "compact,delete"


def test_apply_updates_retention_and_a_missing_topic(fresh: Settings):
    """Another retention is set on topics that are there, what was set by hand stays, a lost topic is made again."""
    topics.apply(fresh)
    admin = AdminClient(dict(client_options(fresh)))
    admin.delete_topics([full_name(fresh, STATUS)])[full_name(fresh, STATUS)].result()
    assert eventually(lambda: full_name(fresh, STATUS) not in admin.list_topics(timeout=10).topics)
    rows = {row["topic"]: row for row in topics.apply(fresh.model_copy(update={"retention_h": 24}))}
    assert rows[full_name(fresh, STATUS)]["state"] == "created"
    assert rows[full_name(fresh, INGEST)]["state"] == "updated"
    assert rows[full_name(fresh, INGEST)]["changed"] == ["retention.ms: 604800000 to 86400000"]
    assert configuration(fresh, full_name(fresh, INGEST))["retention.ms"] == "86400000"


def test_apply_keeps_partitions_and_says_so(fresh: Settings, monkeypatch: pytest.MonkeyPatch):
    """A topic with another number of partitions or replicas stays as it is; the command says why, with code 3."""
    assert command(monkeypatch, fresh, "topics", "apply").exit_code == 0
    more = fresh.model_copy(update={"partitions": 5})
    monkeypatch.setenv("ASSET_PIPELINE_REPLICATION", "3")
    result = command(monkeypatch, more, "topics", "apply", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 3 and len(rows) == len(TOPICS)
    assert {row["state"] for row in rows} == {"differs"} and {row["partitions"] for row in rows} == {3}
    assert all("not 5" in row["message"] and "order" in row["message"] and "not 3" in row["message"] for row in rows)
    assert KafkaAdmin(fresh).partitions(INGEST) == 3


def test_commands_need_a_kafka_that_answers(monkeypatch: pytest.MonkeyPatch):
    """Without a broker in the settings, or with one that is away, the commands end with a sentence and code 2."""
    monkeypatch.setattr(topics, "_PATIENCE_S", 1.0)
    for events_url, said in (("", "ASSET_PIPELINE_EVENTS"), ("kafka://127.0.0.1:1", "refused")):
        result = command(monkeypatch, Settings(events=events_url), "topics", "apply")
        assert result.exit_code == 2 and said in result.stderr


def test_a_missing_topic_is_named(fresh: Settings):
    """Who asks for a topic that is not there hears its name, and the command that creates it."""
    with pytest.raises(RuntimeError, match=rf"{full_name(fresh, STATUS)}: run `asset-pipeline topics apply`"):
        KafkaAdmin(fresh).partitions(STATUS)
    assert full_name(fresh, STATUS) not in AdminClient(dict(client_options(fresh))).list_topics(timeout=10).topics


def test_offsets_show_the_lag(kafka: Settings, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    """`offsets show` gives what is committed, kept, written and left in each partition."""
    send(kafka, VALIDATED, [b"x"] * 5, partition=1)
    KafkaAdmin(kafka).commit(VALIDATED, "derive", {1: 2}, "store")
    result = command(monkeypatch, kafka, "offsets", "show", "derive", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["lag"] for row in rows] == [0, 3, 0, 0]
    assert (rows[1]["committed"], rows[1]["first"], rows[1]["end"], rows[0]["committed"]) == (2, 0, 5, None)


def test_offsets_are_reset(kafka: Settings, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    """`offsets reset` commits the first, the last or a time's offset of each partition, and marks it as a reset."""
    send(kafka, INGEST, [b"x"] * 3, partition=0)
    time.sleep(1.1)
    between = datetime.now(UTC).isoformat(timespec="milliseconds")
    send(kafka, INGEST, [b"x"] * 2, partition=0)
    for to, expected in (("latest", 5), ("earliest", 0), (between, 3), ("2100-01-01", 5)):
        result = command(monkeypatch, kafka, "offsets", "reset", "ingest", "--to", to, "--json")
        assert result.exit_code == 0
        assert json.loads(result.stdout.splitlines()[0])["to"] == expected
        assert KafkaAdmin(kafka).committed(INGEST, "ingest")[0] == Committed(expected, topics.RESET)
    assert KafkaAdmin(kafka).committed(INGEST, "pipeline")[0] == Committed(None, "")


@pytest.mark.services
def test_offsets_are_committed_where_no_group_was_before(tmp_path: Path):
    """A new broker's coordinator is not there at first, which each partition's answer says, and not the whole one."""
    with brokers(tmp_path / "brokers", 1) as (broker,), topics_on(broker.address) as settings:
        admin = KafkaAdmin(settings)
        admin.commit(VALIDATED, "derive", {0: 3}, "store-1")
        assert admin.committed(VALIDATED, "derive")[0] == Committed(3, "store-1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["offsets", "show", "encode"], "there are pipeline, ingest"),
        (["offsets", "reset", "encode", "--to", "latest"], "there are pipeline, ingest"),
        (["offsets", "reset", "derive", "--to", "yesterday"], "neither earliest nor latest nor a time"),
    ],
)
def test_what_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str):
    """An unknown flow or a time that is none ends with code 2, and what would be right."""
    result = command(monkeypatch, Settings(events=f"kafka://{KAFKA}"), *arguments)
    assert result.exit_code == 2 and said in result.stderr
