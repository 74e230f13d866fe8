"""Topics of a test's own on a real broker, and what is written and read there without the code that is tested."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from chaos.brokers import Broker, brokers
from chaos.servers import KAFKA
from chaos.waiting import eventually
from dataflows import topics
from schemas.messages import Record
from schemas.settings import Settings
from schemas.topics import STATUS, Topic, client_options, full_name
from sinks.kafka import KafkaSink

PARTITIONS = 4


@contextmanager
def topics_on(address: str, **given: Any) -> Iterator[Settings]:
    """Settings of a broker on which all topics are there, under a prefix of their own, and are removed at the end."""
    settings = Settings(
        events=f"kafka://{address}", topic_prefix=f"t{uuid.uuid4().hex}", partitions=PARTITIONS, **given
    )
    names = [row["topic"] for row in topics.apply(settings)]
    yield settings
    assert eventually(lambda: removed(settings, names), 60)


def removed(settings: Settings, names: list[str]) -> bool:
    """Whether these topics are gone; what is left is told to go.

    A broker that stood still is no controller for a moment, and a client that hears so never asks again by itself.
    """
    admin = AdminClient(dict(client_options(settings)))
    left = [name for name in names if name in admin.list_topics(timeout=30).topics]
    if left:
        wait(admin.delete_topics(left, request_timeout=5).values())
    return not left


@pytest.fixture
def kafka() -> Iterator[Settings]:
    """Topics of the test's own on the shared broker."""
    with topics_on(KAFKA) as settings:
        yield settings


@pytest.fixture(scope="session")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that tests may pause and stop, as long as it runs again at their end."""
    with brokers(tmp_path_factory.mktemp("kafka") / "brokers", 1) as (broker,):
        yield broker


@pytest.fixture
def own_kafka(own_broker: Broker) -> Iterator[Settings]:
    """Topics of the test's own on a broker that it may pause and stop."""
    with topics_on(own_broker.address) as settings:
        yield settings


def send(settings: Settings, topic: Topic, values: list[bytes | None], partition: int = 0, **more: Any) -> None:
    """Writes values into a partition."""
    producer = Producer({**client_options(settings), "message.max.bytes": 16 * 2**20})
    for value in values:
        producer.produce(full_name(settings, topic), value, partition=partition, **more)
    assert producer.flush(30) == 0


def everything(settings: Settings, topic: Topic, enough: Callable[[list[Message]], bool]) -> list[Message]:
    """The messages of a topic, by partition and offset, once they are enough; after 30 s it is what there is."""
    consumer = Consumer({**client_options(settings), "group.id": uuid.uuid4().hex})
    name = full_name(settings, topic)
    consumer.assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
    found: list[Message] = []
    until = time.monotonic() + 30
    while not enough(found) and time.monotonic() < until:
        found += consumer.consume(1000, timeout=0.1)
    assert not [message.error() for message in found if message.error()]
    return sorted(found, key=lambda message: (message.partition(), message.offset()))


def counted(count: int) -> Callable[[list[Message]], bool]:
    """At least so many messages."""
    return lambda found: len(found) >= count


def record(n: int, key: str = "", topic: Topic = STATUS) -> Record:
    """The n-th record, of one of ten assets."""
    return Record(topic.name, key or f"asset-{n % 10}", str(n).encode(), {"n": str(n).encode()})


def writing(
    sink: KafkaSink, inputs: list[Any], seen: Callable[[str, Any], None] = lambda _step, _item: None
) -> Dataflow:
    """A flow from these records to a sink, past someone who sees each before it is written."""
    flow = Dataflow("writing")
    records = op.input("in", flow, TestingSource(inputs, batch_size=7))
    keyed = op.inspect("seen", op.key_on("key", records, lambda found: found.key), seen)
    op.output("out", keyed, sink)
    return flow


def numbers(messages: list[Message]) -> dict[bytes, list[int]]:
    """The numbers of the records of each key, in the order in which they lie there."""
    found: dict[bytes, list[int]] = {}
    for message in messages:
        found.setdefault(message.key() or b"", []).append(int(message.value() or b"-1"))
    return found
