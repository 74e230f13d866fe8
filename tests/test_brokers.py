"""The Kafka brokers that tests start for themselves."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from chaos.brokers import Broker, brokers, secure_broker
from chaos.waiting import eventually

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with secure_broker(tmp_path_factory.mktemp("secure")) as (address, options):
        yield {"bootstrap.servers": address, **options}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Broker]]:
    with brokers(tmp_path_factory.mktemp("three")) as made:
        yield made


def options_of(made: list[Broker]) -> dict[str, str]:
    return {"bootstrap.servers": ",".join(broker.address for broker in made)}


def topic(options: dict[str, str]) -> str:
    """A new topic of one partition."""
    name = uuid.uuid4().hex
    client = AdminClient(options)
    client.create_topics([NewTopic(name, 1)], operation_timeout=30)[name].result(60)
    return name


def send(options: dict[str, str], topic: str, value: bytes) -> KafkaError | None:
    """Sends a message, and gives the error of its delivery."""
    errors: list[KafkaError | None] = []
    producer = Producer({**options, "acks": "all", "message.timeout.ms": 60_000})
    producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error))
    producer.flush(60)
    return errors[0]


def received(options: dict[str, str], topic: str, count: int) -> list[bytes]:
    """The first messages of a topic."""
    consumer = Consumer({**options, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    values: list[bytes] = []
    eventually(lambda: values.extend(m.value() for m in consumer.consume(count, 1)) or len(values) >= count, 60)
    consumer.close()
    return values


def leader(options: dict[str, str], topic: str) -> int:
    client = AdminClient(options)
    return client.list_topics(topic, timeout=30).topics[topic].partitions[0].leader


def test_credentials_let_a_client_in(secure: dict[str, str]) -> None:
    """With the certificate and the password a client sends and receives."""
    name = topic(secure)
    assert send(secure, name, b"hello") is None
    assert received(secure, name, 1) == [b"hello"]


@pytest.mark.parametrize(
    ("without", "code"),
    [
        ({"sasl.password": "wrong"}, KafkaError._AUTHENTICATION),
        ({"security.protocol": "PLAINTEXT"}, KafkaError._ALL_BROKERS_DOWN),
        ({"security.protocol": "SSL"}, KafkaError._ALL_BROKERS_DOWN),
        ({"ssl.ca.location": "probe"}, KafkaError._SSL),
    ],
)
def test_anyone_else_is_refused(without: dict[str, str], code: int, secure: dict[str, str]) -> None:
    """Without password, TLS, login or trust in the certificate a client gets an error and no answer."""
    errors: list[KafkaError] = []
    client = AdminClient({**secure, **without, "error_cb": errors.append})
    assert eventually(lambda: client.poll(0.1) or code in [error.code() for error in errors], 30), errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_replicated_topic_outlives_its_leader(number: int, three: list[Broker]) -> None:
    """While the leader's broker is away its followers take what is sent, and nothing from before is lost."""
    options = options_of(three)
    name = topic(options)
    assert send(options, name, b"before") is None
    old = leader(options, name)
    three[old].stop(number)
    assert send(options, name, b"meanwhile") is None
    assert leader(options, name) != old
    three[old].start()
    three[old].wait()
    assert send(options, name, b"after") is None
    assert received(options, name, 3) == [b"before", b"meanwhile", b"after"]


def test_a_leader_that_stands_still_is_replaced(three: list[Broker]) -> None:
    """A paused broker loses its partitions to one that answers, and may come back."""
    options = options_of(three)
    name = topic(options)
    old = leader(options, name)
    three[old].pause()
    try:
        assert send(options, name, b"meanwhile") is None
    finally:
        three[old].resume()
    assert received(options, name, 1) == [b"meanwhile"]
