"""What Kafka knows of topics, and of how far flows have come in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas.settings import Settings
from schemas.topics import Topic, client_options, full_name, group_of, partitions_in
from sources.finished import note_of

T = TypeVar("T")
# what a broker says that has only just started, or that has just heard of the topic
_NOT_YET = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
}


class Committed(NamedTuple):
    """The offset below which a flow is finished, None if it never committed one, and the note it left with it."""

    offset: int | None
    note: str

    @property
    def store(self) -> str:
        """The id of the recovery store that goes on from there."""
        return note_of(self.note).store


class Trouble:
    """What a client last complained of: that there was no answer is all that an error itself says."""

    def __init__(self) -> None:
        self.last = ""

    def __call__(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.last = error.str()


def answer_of(ask: Callable[[], T], patience_s: float) -> T:
    """What Kafka answers, asked again while it says `not yet`. Raises KafkaException."""
    until = time.monotonic() + patience_s
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _NOT_YET or time.monotonic() > until:
                raise
            time.sleep(0.1)


class KafkaAdmin:
    """Questions and orders to Kafka; each raises RuntimeError if it refuses, or gives no answer in `patience_s`.

    Answers about partitions are by their numbers. A flow's offsets lie in a consumer group that nobody subscribes with.
    """

    def __init__(self, settings: Settings, patience_s: float = 60.0) -> None:
        self._settings, self.patience_s, self._trouble = settings, patience_s, Trouble()
        self._options: dict[str, Any] = {**client_options(settings), "error_cb": self._trouble}
        self.client = AdminClient(self._options)

    def partitions(self, topic: Topic) -> int:
        """How many partitions a topic has. Raises RuntimeError also if there is no such topic."""
        with self.answering():
            return partitions_in(self.client.list_topics(timeout=self.patience_s), full_name(self._settings, topic))

    def first_offsets(self, topic: Topic) -> dict[int, int]:
        """The oldest offset that is kept."""
        return self._offsets(topic, OffsetSpec.earliest())

    def end_offsets(self, topic: Topic) -> dict[int, int]:
        """The offset that the next message will have."""
        return self._offsets(topic, OffsetSpec.latest())

    def offsets_since(self, topic: Topic, at_ms: int) -> dict[int, int]:
        """The offset of the first message that came at that time (ms since 1970) or later, else the end."""
        found = self._offsets(topic, OffsetSpec.for_timestamp(at_ms))
        return {number: found[number] if found[number] >= 0 else end for number, end in self.end_offsets(topic).items()}

    def _offsets(self, topic: Topic, which: OffsetSpec) -> dict[int, int]:
        name = full_name(self._settings, topic)
        places = [TopicPartition(name, number) for number in range(self.partitions(topic))]
        wanted = dict.fromkeys(places, which)
        found = self.results(lambda: self.client.list_offsets(wanted, request_timeout=self.patience_s))
        return {place.partition: answer.offset for place, answer in found.items()}

    def committed(self, topic: Topic, flow: str) -> dict[int, Committed]:
        """How far a flow has come."""
        name = full_name(self._settings, topic)
        places = [TopicPartition(name, number) for number in range(self.partitions(topic))]
        # librdkafka 2.16's admin client crashes when it asks for these a broker that is not the coordinator yet
        reader = Consumer({**self._options, "group.id": group_of(self._settings, flow)})
        with self.answering(reader):
            found = answer_of(lambda: reader.committed(places, timeout=self.patience_s), self.patience_s)
        return {
            place.partition: Committed(place.offset if place.offset >= 0 else None, place.metadata or "")
            for place in found
        }

    def commit(self, topic: Topic, flow: str, offsets: Mapping[int, int], note: str) -> None:
        """Has a flow begin at these offsets, where its processes have nothing that says otherwise."""
        name = full_name(self._settings, topic)
        places = [TopicPartition(name, number, offset, note) for number, offset in offsets.items()]
        group = ConsumerGroupTopicPartitions(group_of(self._settings, flow), places)

        def altered() -> None:
            asked = self.client.alter_consumer_group_offsets([group], request_timeout=self.patience_s)
            for place in (place for each in asked.values() for place in each.result().topic_partitions):
                if place.error:  # which the request as a whole does not tell
                    raise KafkaException(place.error)

        with self.answering():
            answer_of(altered, self.patience_s)

    def results(self, ask: Callable[[], Mapping[Any, Future[Any]]]) -> dict[Any, Any]:
        """What Kafka answers to each part of a request."""
        with self.answering():
            return answer_of(lambda: {key: future.result() for key, future in ask().items()}, self.patience_s)

    @contextmanager
    def answering(self, client: AdminClient | Consumer | None = None) -> Iterator[None]:
        """A client's error becomes a RuntimeError that says why."""
        try:
            yield
        except KafkaException as error:
            (client or self.client).poll(0)
            refused, reason = error.args[0].code() > 0, error.args[0].str()
            message = (
                f"Kafka refuses: {reason}" if refused else f"Kafka does not answer: {self._trouble.last or reason}"
            )
            raise RuntimeError(message) from error
