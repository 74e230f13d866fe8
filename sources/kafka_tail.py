"""A topic of Kafka from now on, for whoever watches it and is no flow."""

from __future__ import annotations

from confluent_kafka import Consumer, TopicPartition

from schemas.settings import Settings
from schemas.topics import Topic, client_options, full_name, group_of
from sources.kafka_admin import KafkaAdmin, Trouble

_MOST = 1000


class KafkaTail:
    """All messages of a topic that come after this was made, of all partitions; nobody hears of who reads them.

    Delivery is at least once, and in order within a partition. While the broker is away nothing comes, and `trouble`
    says why.
    """

    def __init__(self, settings: Settings, topic: Topic, patience_s: float) -> None:
        """Notes where each partition ends. Raises RuntimeError if there is no such topic or no answer."""
        self._name, self._trouble = full_name(settings, topic), Trouble()
        ends = KafkaAdmin(settings, patience_s).end_offsets(topic)
        self._consumer = Consumer(
            {
                "queued.max.messages.kbytes": 4096,
                **client_options(settings),
                "group.id": group_of(settings, "watching"),  # the client demands one, and nothing is committed to it
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "error_cb": self._trouble,
            }
        )
        self._consumer.assign([TopicPartition(self._name, number, end) for number, end in ends.items()])

    @property
    def trouble(self) -> str:
        """What the client complained of last."""
        return self._trouble.last

    def pull(self, wait_s: float) -> list[tuple[bytes, bytes]]:
        """The keys and values of the next messages, which may take so long. Raises RuntimeError for Kafka's errors."""
        delivered = self._consumer.consume(_MOST, timeout=wait_s)
        for message in delivered:
            if error := message.error():
                raise RuntimeError(f"{self._name}: {error.str()}")
        return [(message.key() or b"", message.value() or b"") for message in delivered]
