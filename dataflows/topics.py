"""Topics as the settings want them, and the offsets from which flows begin, for those who run them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from schemas.settings import Settings
from schemas.times import time_of
from schemas.topics import READ_BY, TOPICS, Topic, full_name
from sources.kafka_admin import KafkaAdmin

Row = dict[str, Any]
APPLIED = ["topic", "state", "partitions", "replication", "changed", "message"]
OFFSETS = ["topic", "partition", "committed", "first", "end", "lag"]
MOVED = ["topic", "partition", "from", "to"]
# The note of an offset that a person has committed: a process whose store says otherwise begins here all the same.
RESET = "reset"
_PATIENCE_S = 15.0
_HOUR_MS = 3_600_000


def apply(settings: Settings) -> list[Row]:
    """Creates the topics that are missing, and gives those that are there their configuration; what was done to each.

    A row's `state` is `differs` where partitions or replication are not as the settings want: those stay as they are.
    Raises RuntimeError if Kafka does not answer or refuses.
    """
    admin = KafkaAdmin(settings, _PATIENCE_S)
    known = _known(admin)
    rows = [
        _update(admin, settings, topic, known[name]) if (name := full_name(settings, topic)) in known
        else _create(admin, settings, topic)
        for topic in TOPICS
    ]  # fmt: skip
    _wait(admin, {row["topic"] for row in rows})
    return rows


def _known(admin: KafkaAdmin) -> dict[str, Any]:
    with admin.answering():
        found: dict[str, Any] = admin.client.list_topics(timeout=_PATIENCE_S).topics
    return found


def _wait(admin: KafkaAdmin, names: set[str]) -> None:
    """A broker hears a moment later of what the controller has created."""
    until = time.monotonic() + _PATIENCE_S
    while missing := names - _known(admin).keys():
        if time.monotonic() > until:
            raise RuntimeError(f"the broker has not heard of {', '.join(sorted(missing))} yet: run this again")
        time.sleep(0.05)


def config_of(settings: Settings, topic: Topic, replicas: int) -> dict[str, str]:
    """The configuration of a topic, as Kafka names it.

    Retention counts from when the broker got a message, since a producer's clock may be wrong. With three replicas
    or more, one of them may be away.
    """
    config = {
        "cleanup.policy": "compact,delete" if topic.compacted else "delete",
        "max.message.bytes": str(topic.most_bytes),
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": str((replicas + 1) // 2),
        "retention.ms": str(settings.retention_h * topic.retentions * _HOUR_MS),
    }
    return config | ({"max.compaction.lag.ms": str(24 * _HOUR_MS)} if topic.compacted else {})


def _create(admin: KafkaAdmin, settings: Settings, topic: Topic) -> Row:
    name, wanted = full_name(settings, topic), config_of(settings, topic, settings.replication)
    new = NewTopic(name, settings.partitions, settings.replication, config=wanted)
    admin.results(lambda: admin.client.create_topics([new], request_timeout=_PATIENCE_S))
    return _row(name, "created", settings.partitions, settings.replication)


def _update(admin: KafkaAdmin, settings: Settings, topic: Topic, found: Any) -> Row:
    name, partitions = full_name(settings, topic), len(found.partitions)
    replicas = len(found.partitions[0].replicas)
    changed = _configure(admin, name, config_of(settings, topic, replicas))
    message = "; ".join(_differences(settings, partitions, replicas))
    state = "differs" if message else "updated" if changed else "unchanged"
    return _row(name, state, partitions, replicas, changed, message)


def _configure(admin: KafkaAdmin, name: str, wanted: dict[str, str]) -> list[str]:
    """Sets what is not as it is wanted; what it was."""
    resource = ConfigResource(ResourceType.TOPIC, name)
    (found,) = admin.results(lambda: admin.client.describe_configs([resource], request_timeout=_PATIENCE_S)).values()
    new = {key: value for key, value in wanted.items() if found[key].value != value}
    if new:
        entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in new.items()]
        change = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        admin.results(lambda: admin.client.incremental_alter_configs([change], request_timeout=_PATIENCE_S))
    return [f"{key}: {found[key].value} to {value}" for key, value in new.items()]


def _differences(settings: Settings, partitions: int, replicas: int) -> Iterator[str]:
    if partitions != settings.partitions:
        yield f"keeps its partitions, not {settings.partitions}: an asset's events would lose their order"
    if replicas != settings.replication:
        yield f"keeps its replication, not {settings.replication}: reassign its partitions to change that"


def _row(
    name: str, state: str, partitions: int, replicas: int, changed: list[str] | None = None, message: str = ""
) -> Row:
    return {
        "topic": name, "state": state, "partitions": partitions, "replication": replicas, "changed": changed or [],
        "message": message,
    }  # fmt: skip


def offsets(settings: Settings, flow: str) -> list[Row]:
    """How far a flow has come in each partition that it reads. Raises ValueError if there is no such flow."""
    admin, topic = KafkaAdmin(settings, _PATIENCE_S), topic_of(flow)
    first, end = admin.first_offsets(topic), admin.end_offsets(topic)
    return [
        {
            "flow": flow, "topic": full_name(settings, topic), "partition": number, "committed": committed.offset,
            "first": first[number], "end": end[number],
            "lag": end[number] - (first[number] if committed.offset is None else committed.offset),
        }
        for number, committed in sorted(admin.committed(topic, flow).items())
    ]  # fmt: skip


def reset(settings: Settings, flow: str, to: str) -> list[Row]:
    """Has a flow begin at `earliest`, `latest` or the first message since a time (ISO 8601, UTC unless it says).

    It holds for processes that start after it; one that runs commits over it. Raises ValueError for an unknown flow
    or time.
    """
    admin, topic = KafkaAdmin(settings, _PATIENCE_S), topic_of(flow)
    wanted = _wanted(admin, topic, to)
    before = admin.committed(topic, flow)
    admin.commit(topic, flow, wanted, RESET)
    return [
        {
            "flow": flow, "topic": full_name(settings, topic), "partition": number, "from": before[number].offset,
            "to": offset,
        }
        for number, offset in wanted.items()
    ]  # fmt: skip


def _wanted(admin: KafkaAdmin, topic: Topic, to: str) -> dict[int, int]:
    if to == "earliest":
        return admin.first_offsets(topic)
    if to == "latest":
        return admin.end_offsets(topic)
    try:
        at = time_of(to)
    except ValueError as error:
        raise ValueError(f"{to!r} is neither earliest nor latest nor a time such as 2030-01-31T12:00Z") from error
    return admin.offsets_since(topic, int(at.timestamp() * 1000))


def topic_of(flow: str) -> Topic:
    """The topic that a flow reads. Raises ValueError if there is no such flow."""
    if flow not in READ_BY:
        raise ValueError(f"there is no flow {flow!r}; there are {', '.join(READ_BY)}")
    return READ_BY[flow]
