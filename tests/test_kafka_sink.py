"""The Kafka sink on real brokers: every record is delivered, in its key's order, or the flow ends with an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from confluent_kafka import Message
from flow_fixtures import AT_ONCE, run_flow  # noqa: F401
from kafka_fixtures import counted, everything, kafka, numbers, own_broker, own_kafka, record, writing  # noqa: F401
from pydantic import SecretStr

from chaos.brokers import Broker
from schemas.messages import Record
from schemas.settings import Settings
from schemas.topics import DERIVED, NOTIFICATIONS, STATUS, partition_of
from sinks.kafka import DeliveryError, KafkaSink, KafkaWriter

pytestmark = pytest.mark.services


def raised_in(flow: Dataflow, **options: Any) -> str:
    """The error with which a flow ends, and what caused it."""
    with pytest.raises(Exception) as raised:
        run_main(flow, **{"epoch_interval": AT_ONCE, **options})
    error: BaseException | None = raised.value
    texts = []
    while error:
        texts.append(repr(error))
        error = error.__cause__
    return " ".join(texts)


def values(messages: list[Message]) -> list[int]:
    return sorted(int(message.value() or b"-1") for message in messages)


def all_of(count: int) -> Callable[[list[Message]], bool]:
    """Every number up to a count at least once."""
    return lambda found: set(values(found)) >= set(range(count))


def test_records_lie_in_order_in_the_partition_of_their_key(kafka: Settings, run_flow):  # noqa: F811
    """Each record is there once, as it was given, in its key's partition, in the order in which it was given."""
    run_flow(writing(KafkaSink(kafka, [STATUS]), [record(n) for n in range(1000)]))
    found = everything(kafka, STATUS, counted(1000))
    assert values(found) == list(range(1000))
    assert all(message.partition() == partition_of(message.key().decode(), 4) for message in found)
    assert all(message.headers() == [("n", message.value())] for message in found)
    assert all(ordered == sorted(ordered) for ordered in numbers(found).values())


def test_one_sink_writes_to_several_topics(kafka: Settings):  # noqa: F811
    """A record goes to the topic that it names."""
    inputs = [record(n, topic=STATUS if n % 3 else NOTIFICATIONS) for n in range(30)]
    run_main(writing(KafkaSink(kafka, [STATUS, NOTIFICATIONS]), inputs))
    assert values(everything(kafka, NOTIFICATIONS, counted(10))) == list(range(0, 30, 3))
    assert len(everything(kafka, STATUS, counted(20))) == 20


def test_batches_are_of_one_partition(kafka: Settings, run_flow):  # noqa: F811
    """What is encoded together has keys of one partition, and lies in that partition."""

    def together(records: list[Record]) -> Iterable[Record]:
        keys = ",".join(found.key for found in records)
        yield Record(DERIVED.name, records[0].key, keys.encode(), {})

    run_flow(writing(KafkaSink(kafka, [DERIVED], together), [record(n, f"key-{n}") for n in range(300)]))
    found = everything(kafka, DERIVED, lambda batches: sum(b.value().count(b",") + 1 for b in batches) == 300)
    assert len(found) < 300
    for batch in found:
        assert {partition_of(key, 4) for key in batch.value().decode().split(",")} == {batch.partition()}


def test_a_flow_needs_its_topics_and_its_broker(kafka: Settings):  # noqa: F811
    """A topic that is missing, or a broker that is away at the start, ends the flow with a sentence to act on."""
    elsewhere = kafka.model_copy(update={"topic_prefix": "nobody"})
    assert "nobody.assets.status: run `asset-pipeline topics apply`" in raised_in(
        writing(KafkaSink(elsewhere, [STATUS]), [record(1)])
    )
    nowhere = kafka.model_copy(update={"events": "kafka://127.0.0.1:1"})
    said = raised_in(writing(KafkaSink(nowhere, [STATUS], patience_s=1), [record(1)]))
    assert "Kafka does not answer" in said and "Connection refused" in said


@pytest.mark.parametrize(("size", "said"), [(5 * 2**20, "not delivered"), (17 * 2**20, "refused")])
def test_a_record_that_is_too_large_ends_the_flow(kafka: Settings, size: int, said: str):  # noqa: F811
    """What the broker refuses, or the client itself, is an error that names the topic, never silence."""
    large = Record(STATUS.name, "key", b"\0" * size, {})
    incompressible = kafka.model_copy(update={"kafka_options": {"compression.type": SecretStr("none")}})
    error = raised_in(writing(KafkaSink(incompressible, [STATUS]), [record(1), large, record(2)]))
    assert "DeliveryError" in error and said in error and "assets.status" in error and "too large" in error


def test_a_full_queue_holds_the_writer_back(kafka: Settings):  # noqa: F811
    """With room for few records at once, all of many are written."""
    small = kafka.model_copy(update={"kafka_options": {"queue.buffering.max.messages": SecretStr("10")}})
    run_main(writing(KafkaSink(small, [STATUS]), [record(n) for n in range(500)]))
    assert values(everything(kafka, STATUS, counted(500))) == list(range(500))


def test_a_broker_that_stays_away_ends_the_flow_and_nothing_is_lost(
    own_broker: Broker,  # noqa: F811
    own_kafka: Settings,  # noqa: F811
    tmp_path: Path,
):
    """Records that are not delivered in time are an error, also one that comes late; the next run writes them."""
    init_db_dir(tmp_path, 1)
    recovery = RecoveryConfig(str(tmp_path))
    inputs = [record(n) for n in range(100)]

    def pause(_step: str, item: tuple[str, Record]) -> None:
        if item[1].value == b"50":
            own_broker.pause()

    sink = KafkaSink(own_kafka, [STATUS], patience_s=2)
    try:
        error = raised_in(writing(sink, inputs, pause), recovery_config=recovery)
    finally:
        own_broker.resume()
    assert "DeliveryError" in error
    run_main(writing(KafkaSink(own_kafka, [STATUS]), inputs), epoch_interval=AT_ONCE, recovery_config=recovery)
    found = everything(own_kafka, STATUS, all_of(100))
    assert set(values(found)) == set(range(100))


@pytest.mark.parametrize("outage", ["paused", "stopped"])
def test_an_outage_loses_nothing_and_keeps_the_order(own_broker: Broker, own_kafka: Settings, outage: str):  # noqa: F811
    """Two producers write on while the broker stands still or is gone: each key's records come once and in order."""
    failures: list[BaseException] = []
    away, written = threading.Event(), threading.Barrier(3)

    def write(writer: KafkaWriter, prefix: str) -> None:
        try:
            for start in range(0, 3000, 100):
                if start == 1000:
                    assert away.wait(60)
                writer.write(record(n, f"{prefix}-{n % 10}") for n in range(start, start + 100))
            written.wait(60)
            writer.flush()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(KafkaWriter(own_kafka, [STATUS]), prefix)) for prefix in "ab"]
    for thread in threads:
        thread.start()
    own_broker.pause() if outage == "paused" else own_broker.stop()
    try:
        away.set()
        written.wait(60)
        time.sleep(2)
    finally:
        own_broker.resume() if outage == "paused" else own_broker.start()
    own_broker.wait()
    for thread in threads:
        thread.join(60)
    found = numbers(everything(own_kafka, STATUS, counted(6000)))
    assert failures == [] and len(found) == 20
    assert all(ordered == list(range(int(key[-1:]), 3000, 10)) for key, ordered in found.items())


def test_a_queue_that_stays_full_is_an_error(own_broker: Broker, own_kafka: Settings):  # noqa: F811
    """A writer that finds no room while the broker is away gives up after its patience, and says so."""
    options = {"queue.buffering.max.messages": SecretStr("10")}
    writer = KafkaWriter(own_kafka.model_copy(update={"kafka_options": options}), [STATUS], patience_s=2)
    own_broker.pause()
    try:
        with pytest.raises(DeliveryError):
            writer.write(record(n) for n in range(100))
        with pytest.raises(DeliveryError):
            writer.flush()
        writer.close()
    finally:
        own_broker.resume()


def test_an_error_elsewhere_is_the_error_that_is_seen(own_broker: Broker, own_kafka: Settings):  # noqa: F811
    """Where another step fails while the broker is away, the sink's end adds no error of its own."""

    def break_at_20(_step: str, item: tuple[str, Record]) -> None:
        if item[1].value == b"20":
            own_broker.pause()
            raise KeyError("another step")

    flow = writing(KafkaSink(own_kafka, [STATUS]), [record(n) for n in range(30)], break_at_20)
    try:
        error = raised_in(flow, epoch_interval=timedelta(seconds=10))
    finally:
        own_broker.resume()
    assert "another step" in error and "DeliveryError" not in error
