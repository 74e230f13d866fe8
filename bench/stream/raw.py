"""The raw loop: confluent-kafka alone consumes and produces, and looks into no message. Run as a process of its own."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.stream.side import Given, Meter, main
from schemas.cloudevents import STRUCTURED
from schemas.messages import CONTENT_TYPE
from schemas.settings import Settings
from schemas.topics import INGEST, STATUS, client_options, full_name

_MOST = 1000


def run(settings: Settings, given: Given, meter: Meter) -> None:
    """Each event goes on under its key by a producer with our options, cut to the size that a status event has."""
    consumer = Consumer({**client_options(settings), "group.id": f"{settings.topic_prefix}.raw"})
    producer = Producer(given["producer"])
    name, status = full_name(settings, INGEST), full_name(settings, STATUS)
    consumer.assign([TopicPartition(name, number, 0) for number in range(settings.partitions)])
    headers: dict[str, str | bytes | None] = {CONTENT_TYPE: STRUCTURED.encode()}
    size, done = given["size"], False
    while not done:
        messages = consumer.consume(_MOST, 1.0)
        done = bool(messages) and meter.passed(len(messages))
        for message in messages:
            while True:
                try:
                    producer.produce(status, (message.value() or b"")[:size], message.key(), headers=headers)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
    producer.flush()


if __name__ == "__main__":
    main(run)
