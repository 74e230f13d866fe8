"""All that a topic of Kafka keeps, for whoever has to see every message and is no flow."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from schemas.messages import Message
from schemas.settings import Settings
from schemas.topics import Topic, client_options, full_name, group_of
from sources.kafka_admin import KafkaAdmin, Trouble

_MOST = 1000
_PATIENCE_S = 60.0


def messages(settings: Settings, topic: Topic) -> Iterator[Message]:
    """Every message, from the oldest that the broker keeps to the end of each partition as it is reached.

    In order within a partition; nobody hears of who reads them. It never ends early: it raises RuntimeError if there is
    no such topic, if Kafka reports an error, or if nothing comes for a minute.
    """
    for found in _delivered(settings, topic, KafkaAdmin(settings, _PATIENCE_S).first_offsets(topic)):
        headers = {name: value for name, value in found.headers() or () if value is not None}
        yield Message(found.topic(), found.partition(), found.offset(), found.key(), found.value(), headers)


def appended_ms(settings: Settings, topic: Topic, offsets: Mapping[int, int]) -> dict[int, int]:
    """When the first message at or after each of these offsets (by partition) came, in ms since 1970.

    A partition without one is left out. Raises RuntimeError as `messages` does.
    """
    times: dict[int, int] = {}
    for found in _delivered(settings, topic, offsets):
        times.setdefault(found.partition(), found.timestamp()[1])
        if len(times) == len(offsets):
            break
    return times


def _delivered(settings: Settings, topic: Topic, begin: Mapping[int, int]) -> Iterator[Any]:
    name, trouble = full_name(settings, topic), Trouble()
    reader = Consumer(
        {
            "queued.max.messages.kbytes": 16_384,
            **client_options(settings),
            "group.id": group_of(settings, "reading"),  # the client demands one, and nothing is committed to it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",  # retention may pass a beginning meanwhile
            "error_cb": trouble,
        }
    )
    reader.assign([TopicPartition(name, number, offset) for number, offset in begin.items()])
    ended, heard = set[int | None](), time.monotonic()
    while len(ended) < len(begin):
        for found in reader.consume(_MOST, timeout=1.0):
            heard = time.monotonic()
            if (error := found.error()) is None:
                yield found
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add(found.partition())
            else:
                raise RuntimeError(f"{name}: {error.str()}")
        if time.monotonic() > heard + _PATIENCE_S:
            raise RuntimeError(f"{name}: Kafka does not answer: {trouble.last or 'nothing comes'}")
