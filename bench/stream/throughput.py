"""Messages a second through the intake, ours and others', from the same topic into the same topic of one broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from bench.stream.events import ingest_event
from bench.stream.rows import Row
from bench.stream.side import ROOT, ended, start
from bench.stream.work import record, told
from dataflows.topics import reset
from schemas.settings import Settings
from schemas.structs import received
from schemas.topics import STATUS, full_name
from sinks.kafka import producer_options
from sources.kafka_admin import KafkaAdmin

RIVALS = ROOT / ".venv-rivals" / "bin" / "python"
EPOCH_S = 10.0
Told = dict[str, Any]


def measured(module: str, settings: Settings, count: int, processes: int = 1, **given: Any) -> Told:
    """What a side says of itself; of `processes` that share the partitions, what they say together.

    `rate` is messages a second from the first message to when the broker had the last one. Raises RuntimeError if
    each message was not written once.
    """
    admin = KafkaAdmin(settings)
    before = sum(admin.end_offsets(STATUS).values())
    common = {"count": count // processes, "producer": producer_options(settings), **given}
    each = [settings.model_copy(update={"process": n, "processes": processes}) for n in range(processes)]
    found = [ended(side) for side in [start(module, one, **common) for one in each]]
    written, seen = sum(admin.end_offsets(STATUS).values()) - before, sum(one["seen"] for one in found)
    if written != seen:
        raise RuntimeError(f"{module} has written {written} of {seen} messages")
    seconds = _last_s(settings, admin) - min(one["first_s"] for one in found)
    return found[0] | {"rate": written / seconds, "cpu_us": 1e6 * sum(one["cpu_s"] for one in found) / written}


def _last_s(settings: Settings, admin: KafkaAdmin) -> float:
    """When the broker got the newest status event, in seconds since 1970."""
    name = full_name(settings, STATUS)
    places = {TopicPartition(name, number): OffsetSpec.max_timestamp() for number in range(settings.partitions)}
    return max(found.timestamp for found in admin.results(lambda: admin.client.list_offsets(places)).values()) / 1000


def ours(settings: Settings, count: int, recovery: bool = True, **given: Any) -> Told:
    """Our side from the first event on, with a recovery store of its own or none."""
    reset(settings, "ingest", "earliest")
    store = str(settings.below(f"recovery-{uuid4().hex}")) if recovery else ""
    return measured("ours", settings, count, **{"store": store, "epoch_s": EPOCH_S, **given})


def raw(settings: Settings, count: int) -> Told:
    """The loop without parsing, with messages of the size of a status event."""
    size = len(record(told(received(ingest_event(0).model_dump_json().encode()))).value)
    return measured("raw", settings, count, size=size)


def rival(module: str, settings: Settings, count: int, python: Path) -> Told:
    """The same work by another engine."""
    store = str(settings.below(f"{module}-{uuid4().hex}"))
    return measured(module, settings, count, python=python, store=store, epoch_s=EPOCH_S)


def against_raw(settings: Settings, count: int, rounds: int) -> list[Row]:
    """Our side with and without a recovery store, each beside a raw loop."""
    with_store, without, loop = [], [], []
    for _ in range(rounds):
        with_store.append(ours(settings, count)["rate"])
        loop.append(raw(settings, count)["rate"])
        without.append(ours(settings, count, recovery=False)["rate"])
    return [
        Row.of("intake with recovery, epochs of 10 s, against a raw loop: messages/s", with_store, loop, 0.5),
        Row.of("intake without recovery against a raw loop: messages/s", without, loop, 0.6),
    ]


def against_rivals(settings: Settings, count: int, counts: dict[str, int], python: Path = RIVALS) -> list[Row]:
    """Our side beside each rival, which has so many messages."""
    aims = {"quix": 3.0, "faust": 15.0}
    return [
        Row.of(
            f"the same work against {module}: messages/s",
            [ours(settings, count)["rate"]], [rival(module, settings, their_count, python)["rate"]], aims[module],
        )
        for module, their_count in counts.items()
    ]  # fmt: skip


def of_processes(settings: Settings, count: int, rounds: int) -> list[Row]:
    """What a message costs with two processes, beside what it costs with one."""
    pairs = [(ours(settings, count, processes=2)["cpu_us"], ours(settings, count)["cpu_us"]) for _ in range(rounds)]
    two, one = zip(*pairs, strict=True)
    return [Row.of("2 processes against 1: CPU us a message", two, one, 1.05, most=True)]
