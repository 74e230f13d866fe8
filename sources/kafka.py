"""Partitions of Kafka's topics as feeds."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.messages import Message
from schemas.settings import Settings
from schemas.topics import Topic, client_options, full_name, group_of
from sources.finished import Finished, Note, note_of
from sources.kafka_admin import KafkaAdmin, Trouble, answer_of

_START_S = 60.0
_COMMIT_EVERY_S = 1.0
_CLOSE_S = 2.0
_RENEW_S = 20.0
_log = structlog.get_logger()


class KafkaFeed:
    """One partition of a topic, read by a flow: a feed (`sources.feed`).

    Delivery is at least once and in order. Which process reads a partition is decided by the process's number, and
    where it begins by the process's recovery store; the flow's consumer group, which nobody subscribes with, is told
    what is finished, for those who watch the lag, and for a process without a store, which leaves that out. `store` is
    the id of the process's own. While the broker is away nothing comes: that is logged once, and `connected` is False;
    `lag` is how many messages are not finished. A client that stays away is replaced, since it may not notice that the
    broker is back.
    """

    def __init__(
        self, settings: Settings, topic: Topic, flow: str, partition: int, store: str = "", most: int = 256
    ) -> None:
        self.connected, self.lag = True, 0
        self.topic, self._flow, self.partition = full_name(settings, topic), flow, partition
        self._name = f"{self.topic}, partition {partition}"
        self._store, self._most = store, most
        self._known = Finished(0)
        self._finished: Finished | None = None
        self._sent: Finished | None = None
        self._unanswered = False
        self._next_commit = 0.0
        self._trouble = Trouble()
        self._following: int | None = None
        self._renew_at = math.inf
        self._client = partial(Consumer, self._options(settings))
        self._consumer = self._client()

    def _options(self, settings: Settings) -> dict[str, Any]:
        return {
            "queued.max.messages.kbytes": 4096,  # a larger message comes all the same
            "fetch.queue.backoff.ms": 20,
            "statistics.interval.ms": 2000,
            **client_options(settings),
            "group.id": group_of(settings, self._flow),
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "error_cb": self._trouble,
            "stats_cb": self._on_statistics,
            "on_commit": self._on_commit,
        }

    def _place(self, *offset_and_note: Any) -> TopicPartition:
        return TopicPartition(self.topic, self.partition, *offset_and_note)

    def start(self, offset: int | None) -> None:
        """Begins at this offset, else where the group is, else at the oldest message.

        Raises RuntimeError if there is nothing at that offset, or if Kafka does not answer within a minute.
        """
        try:
            first, end = self._consumer.get_watermark_offsets(self._place(), timeout=_START_S)
            self._known = self._committed(first) if offset is None else Finished(offset)
        except KafkaException as error:
            self._consumer.poll(0)
            raise RuntimeError(f"{self._name}: {self._trouble.last or error.args[0].str()}") from error
        begin = self._known.offset
        if not first <= begin <= end:
            raise self._gone(f"there is no offset {begin}, only {first} to {end}")
        if offset is None:
            self._finished = self._known  # the note says from now on whose the partition is
        self._following = begin
        self._consumer.assign([self._place(begin)])

    def _committed(self, first: int) -> Finished:
        (place,) = answer_of(lambda: self._consumer.committed([self._place()], timeout=_START_S), _START_S)
        if place.offset < 0:
            return Finished(first)
        note = note_of(place.metadata or "")
        return Finished(place.offset, note.until, note.left)

    def pull(self) -> list[Message]:
        """The next messages. Raises RuntimeError for what Kafka reports of the partition."""
        messages = [self._message(message) for message in self._consumer.consume(self._most, timeout=0)]
        if messages:
            self._following = messages[-1].offset + 1
            messages = [message for message in messages if not self._known.has(message.offset)]
        elif time.monotonic() > self._renew_at:
            self._renew()
        self._commit()
        return messages

    @property
    def position(self) -> int | None:
        """The offset after the last message that was looked at."""
        return self._following

    def _message(self, delivered: Any) -> Message:
        if error := delivered.error():
            expired = error.code() == KafkaError._AUTO_OFFSET_RESET
            raise self._gone(error.str()) if expired else RuntimeError(f"{self._name}: {error.str()}")
        headers = {name: value for name, value in delivered.headers() or () if value is not None}
        return Message(self.topic, self.partition, delivered.offset(), delivered.key(), delivered.value(), headers)

    def _gone(self, reason: str) -> RuntimeError:
        command = f"`asset-pipeline offsets reset {self._flow} --to earliest`"
        return RuntimeError(f"{self._name}: {reason}: stop the flow's processes, then run {command}")

    def committed(self, offset: int) -> None:
        """Nothing to do: a topic keeps what was read."""

    def finished(self, finished: Finished) -> None:
        """Commits it to the group within a second or two, and does not wait for that."""
        self._finished = finished.after(self._known)
        self._commit()

    def retry(self, offset: int | None, delay_s: float) -> None:
        """Nothing to do: what is not in the recovery store is read again."""

    def _commit(self) -> None:
        if self._finished != self._sent and not self._unanswered and time.monotonic() >= self._next_commit:
            self._next_commit = time.monotonic() + _COMMIT_EVERY_S
            self._send()

    def _send(self) -> None:
        self._sent, self._unanswered = self._finished, True
        assert self._finished is not None
        note = Note(self._store, self._finished.until, self._finished.left)
        self._consumer.commit(offsets=[self._place(self._finished.offset, note.text())], asynchronous=True)

    def _on_commit(self, error: KafkaError | None, _places: list[TopicPartition]) -> None:
        self._unanswered = False
        if error:
            self._sent = None
            _log.warning("kafka_commit_failed", partition=self._name, error=error.str())

    def _renew(self) -> None:
        """Goes on with a new client; the old one ends on a thread of its own, which may take seconds."""
        self._renew_at = time.monotonic() + _RENEW_S
        old, self._consumer = [self._consumer], self._client()
        self._consumer.assign([self._place(self._following)])
        self._sent, self._unanswered = None, False
        threading.Thread(target=old.clear, daemon=True).start()

    def _on_statistics(self, statistics: str) -> None:
        told = json.loads(statistics)
        connected = _leader_answers(told, self.topic, self.partition)
        finished = self._finished.offset if self._finished else self._following or 0
        self.lag = max(0, _end(told, self.topic, self.partition) - finished)
        if connected and not self.connected:
            self._trouble.last = ""
            _log.info("kafka_back", partition=self._name)
        elif self.connected and not connected:
            _log.warning("kafka_away", partition=self._name, error=self._trouble.last)
        if connected or self.connected:
            self._renew_at = math.inf if connected else time.monotonic() + _RENEW_S
        self.connected = connected

    def close(self) -> None:
        """Commits what is finished, for a moment at most."""
        self._consumer.unassign()
        until = time.monotonic() + _CLOSE_S
        while (self._unanswered or self._finished != self._sent) and time.monotonic() < until:
            if not self._unanswered:
                self._send()
            self._consumer.poll(0.05)
        # its own close() waits without a bound for a broker that does not answer a commit
        del self._consumer


def _known(statistics: dict[str, Any], topic: str, partition: int) -> dict[str, Any]:
    known: dict[str, Any] = statistics["topics"].get(topic, {"partitions": {}})["partitions"]
    return known.get(str(partition), {"leader": -1, "hi_offset": -1})


def _end(statistics: dict[str, Any], topic: str, partition: int) -> int:
    """The offset that the partition's next message will have; below 0 where it is not known yet."""
    return int(_known(statistics, topic, partition)["hi_offset"])


def _leader_answers(statistics: dict[str, Any], topic: str, partition: int) -> bool:
    leader = _known(statistics, topic, partition)["leader"]
    brokers = statistics["brokers"].values()
    return any(broker["nodeid"] == leader >= 0 and broker["state"] in ("UP", "UPDATE") for broker in brokers)


def feeds(settings: Settings, topic: Topic, flow: str, store: str = "") -> dict[str, Callable[[], KafkaFeed]]:
    """The feeds of this process by the names of their partitions: of those p with p % processes == process.

    Raises RuntimeError if there is no such topic, or no partition of it for this process, or no answer.
    """
    partitions = KafkaAdmin(settings).partitions(topic)
    ours = [number for number in range(partitions) if settings.reads(number)]
    if not ours:
        place = f"process {settings.process} of {settings.processes}"
        raise RuntimeError(f"{place} has nothing to read: {full_name(settings, topic)} has {partitions} partitions")
    return {f"{number:04d}": partial(KafkaFeed, settings, topic, flow, number, store) for number in ours}
