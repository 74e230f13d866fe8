"""Records to topics of Kafka, with an error for each that does not get there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.messages import Headers, Record
from schemas.settings import Settings
from schemas.topics import Topic, client_options, full_name, partition_of, partitions_in

PATIENCE_S, COMMANDS_PATIENCE_S = 300.0, 30.0
_START_S = 60.0
_SLICE_S = 0.5  # after which a signal is heard, and an error seen
_CLOSE_S = 5.0
_log = structlog.get_logger()


class DeliveryError(RuntimeError):
    """Records were not delivered."""


def producer_options(settings: Settings, patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """How records are produced, as options of librdkafka: each on every replica that is in sync, once and in order."""
    return {
        "linger.ms": 5,
        "compression.type": "lz4",
        "message.max.bytes": 16 * 2**20,
        "queue.buffering.max.kbytes": 2**16,
        "request.timeout.ms": 10_000,
        **client_options(settings),
        "acks": "all",
        "enable.idempotence": True,
        "message.timeout.ms": int(patience_s * 1000),
        "delivery.report.only.error": True,
    }


class KafkaWriter:
    """Writes records to some topics; used by one thread.

    At least once, in order within a key: when `flush` returns, all that was written is on every replica that is in
    sync. Each method raises DeliveryError once a record was not delivered, also one of an earlier call. While the
    broker is away up to 64 MB of records wait here, then `write` waits; for `patience_s` in all, then they fail.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Sequence[Topic],
        patience_s: float = PATIENCE_S,
        waiting: Callable[[], None] = lambda: None,
    ) -> None:
        """Looks the topics up. Raises RuntimeError if one is missing, or if Kafka does not answer within a minute.

        `waiting` is called again and again while the broker is waited for.
        """
        self._patience_s, self._waiting = patience_s, waiting
        self._error: DeliveryError | None = None
        self._trouble = ""
        self._producer = Producer(
            {**producer_options(settings, patience_s), "on_delivery": self._on_delivery, "error_cb": self._on_error}
        )
        names, metadata = {topic.name: full_name(settings, topic) for topic in topics}, self._metadata()
        self._places = {topic: (name, partitions_in(metadata, name)) for topic, name in names.items()}

    def _metadata(self) -> Any:
        try:
            return self._producer.list_topics(timeout=min(self._patience_s, _START_S))
        except KafkaException as error:
            self._producer.poll(0)
            raise RuntimeError(f"Kafka does not answer: {self._trouble or error.args[0].str()}") from error

    def partitions(self, topic: Topic) -> int:
        """How many partitions a topic has."""
        return self._places[topic.name][1]

    def write(self, records: Iterable[Record]) -> None:
        """Queues records, each for the partition of its key."""
        for record in records:
            self._queue(*record)
        self._producer.poll(0)
        self._check()

    def forget(self, topic: Topic, keys: Iterable[str]) -> None:
        """Queues tombstones, by which a compacted topic forgets these keys."""
        for key in keys:
            self._queue(topic.name, key, None, {})

    def _queue(self, topic: str, key: str, value: bytes | None, headers: Headers) -> None:
        name, partitions = self._places[topic]
        partition = partition_of(key, partitions)
        until = 0.0
        while True:
            try:
                return self._producer.produce(name, value, key, partition, headers={**headers})
            except BufferError:
                until = until or time.monotonic() + self._patience_s
                self._wait_for_room(until)
            except KafkaException as error:
                raise self._failed(f"a record for {name} is refused: {error.args[0].str()}") from error

    def _wait_for_room(self, until: float) -> None:
        self._waiting()
        self._producer.poll(_SLICE_S)
        self._check()
        if time.monotonic() > until:
            raise self._failed(f"{len(self._producer)} records wait, and there is no room for more: {self._trouble}")

    def flush(self) -> None:
        """Returns once all that was written is delivered."""
        until = time.monotonic() + self._patience_s
        while (left := self._producer.flush(_SLICE_S)) and time.monotonic() < until:
            self._waiting()
            self._check()
        self._check()
        if left:
            raise self._failed(f"{left} records are not delivered after {self._patience_s:.0f} s: {self._trouble}")
        self._trouble = ""

    def close(self) -> None:
        """Gives what was not flushed a moment to get out, and logs what did not. Never raises."""
        left = 0 if self._error else self._producer.flush(_CLOSE_S)
        if left:
            _log.error("kafka_records_given_up", records=left, error=self._trouble)
        self._producer.purge()

    def _on_delivery(self, error: KafkaError, message: Any) -> None:
        self._failed(f"a record for {message.topic()} is not delivered: {error.str()} {self._trouble}".rstrip())

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._failed(f"the client of Kafka has failed: {error.str()}")
        elif error.code() != KafkaError._ALL_BROKERS_DOWN:  # which says less than those that come with it
            if not self._trouble:
                _log.warning("kafka_trouble", error=error.str())
            self._trouble = error.str()

    def _failed(self, message: str) -> DeliveryError:
        self._error = self._error or DeliveryError(message)
        return self._error

    def _check(self) -> None:
        if self._error:
            raise self._error


@contextmanager
def delivering(settings: Settings, topics: Sequence[Topic]) -> Iterator[KafkaWriter]:
    """A writer for a command; when the context ends, what was written is delivered. Raises RuntimeError."""
    writer = KafkaWriter(settings, topics, COMMANDS_PATIENCE_S)
    try:
        yield writer
        writer.flush()
    finally:
        writer.close()


class _KafkaPartition(StatefulSinkPartition[Any, None]):
    def __init__(self, writer: KafkaWriter, encode: Callable[[list[Any]], Iterable[Record]]) -> None:
        self._writer, self._encode = writer, encode

    def write_batch(self, values: list[Any]) -> None:
        self._writer.write(self._encode(values))

    def snapshot(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


@dataclass
class KafkaSink(FixedPartitionedSink[Any, None]):
    """Records to topics of Kafka, at least once, in order within a key: an epoch closes once its records are delivered.

    Items are (key, record); or (key, anything) with `encode`, which makes records of items whose keys all lie in one
    partition of the first topic: of a batch of work, say, a single record with any of their keys. A record that
    cannot be delivered ends the flow (`KafkaWriter`), and the next run writes those of the open epoch again.
    """

    settings: Settings
    topics: Sequence[Topic]
    encode: Callable[[list[Any]], Iterable[Record]] = list
    patience_s: float = PATIENCE_S
    waiting: Callable[[], None] = lambda: None
    # one of each worker's thread: two that share a queue would each wait for the other's records as well
    _writers: threading.local = field(default_factory=threading.local, init=False, repr=False)

    def _writer(self) -> KafkaWriter:
        if not hasattr(self._writers, "writer"):
            self._writers.writer = KafkaWriter(self.settings, self.topics, self.patience_s, self.waiting)
        writer: KafkaWriter = self._writers.writer
        return writer

    def list_parts(self) -> list[str]:
        """The partitions of the first topic; each is written by one worker."""
        return [f"{number:04d}" for number in range(self._writer().partitions(self.topics[0]))]

    def part_fn(self, item_key: str) -> int:
        """The partition of a key, which the engine takes modulo their number."""
        return crc32(item_key.encode())

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _KafkaPartition:
        """A partition on the worker's one connection. There is nothing to resume."""
        return _KafkaPartition(self._writer(), self.encode)
