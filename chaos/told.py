"""What the flows tell on the border's topics, read as it comes by a consumer that knows nothing else."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from chaos.load import Delivered
from chaos.stack import PARTITIONS
from schemas.errors import State
from schemas.fold import FINAL_STAGE
from schemas.settings import Settings
from schemas.topics import BORDER, DEAD_LETTERS, STATUS, Topic, client_options, full_name

_BAD = (State.FAILED, State.REJECTED, State.DUPLICATE)


class End(NamedTuple):
    """A state from which nothing follows."""

    state: str
    code: str
    stage: str
    generation: int = 0


class Endings:
    """The ends of events and jobs, by what is told of whole stages and of dead letters."""

    def __init__(self) -> None:
        self._ends: defaultdict[str, set[End]] = defaultdict(set)
        self._accepted: set[str] = set()

    def status(self, told: Mapping[str, Any]) -> None:
        """A change of state."""
        if told["step"]:
            return
        last = told["stage"] == FINAL_STAGE and told["state"] == State.COMPLETED
        if last or told["state"] in _BAD:
            self._ends[told["job_id"]].add(End(told["state"], told["code"], told["stage"], told["generation"]))
        elif told["stage"] == "ingest" and told["state"] == State.COMPLETED:
            self._accepted.add(told["job_id"])

    def letter(self, told: Mapping[str, Any]) -> None:
        """A dead letter: all that is told of a message that is no event."""
        if not told["input"]:
            self._ends[told["job_id"]].add(End(told["state"], told["code"], told["stage"]))

    def accepted(self, delivered: Delivered) -> bool:
        """Whether an event began, or began again, its asset's job."""
        return delivered.id in self._accepted

    def of(self, delivered: Delivered) -> set[End]:
        """The ends of what was submitted: one, if all is well."""
        job = delivered.sent.job_id if self.accepted(delivered) else ""
        return self._ends.get(delivered.id, set()) | self._ends.get(job, set())


def endings(statuses: Iterable[Mapping[str, Any]], letters: Iterable[Mapping[str, Any]]) -> Endings:
    """The ends in all of these."""
    made = Endings()
    for told in statuses:
        made.status(told)
    for told in letters:
        made.letter(told)
    return made


@dataclass
class Told:
    """Everything that was told so far: by topic the events' data by id, and how often each came."""

    settings: Settings
    data: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {t.name: {} for t in BORDER})
    copies: Counter[tuple[str, str]] = field(default_factory=Counter)
    computed: Counter[str] = field(default_factory=Counter)
    gone: set[str] = field(default_factory=set)
    endings: Endings = field(default_factory=Endings)

    def __post_init__(self) -> None:
        self._topics: dict[str, Topic] = {full_name(self.settings, topic): topic for topic in BORDER}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="told", daemon=True)
        self.error: Exception | None = None

    def start(self) -> None:
        """Begins to read."""
        self._thread.start()

    def stop(self, seconds: float = 60.0) -> None:
        """Ends once all that is there was read. Raises what went wrong."""
        self._until = time.monotonic() + seconds
        self._stop.set()
        self._thread.join()
        if self.error:
            raise self.error

    def _follow(self) -> None:
        try:
            options = {**client_options(self.settings), "group.id": uuid.uuid4().hex, "fetch.wait.max.ms": 100}
            consumer = Consumer(options)
            places = [TopicPartition(name, n, OFFSET_BEGINNING) for name in self._topics for n in range(PARTITIONS)]
            consumer.assign(places)
            while not self._stop.is_set():
                self._take(consumer.consume(2000, timeout=0.2))
            self._rest(consumer, places)
            consumer.close()
        except Exception as error:
            self.error = error

    def _rest(self, consumer: Any, places: list[Any]) -> None:
        while self._behind(consumer, places):
            if time.monotonic() > self._until:
                raise TimeoutError("the border's topics could not be read to their ends")
            self._take(consumer.consume(2000, timeout=0.2))

    @staticmethod
    def _behind(consumer: Any, places: list[Any]) -> bool:
        for place in consumer.position(places):
            first, end = consumer.get_watermark_offsets(place, timeout=30)
            if max(first, place.offset) < end:
                return True
        return False

    def _take(self, messages: list[Any]) -> None:
        for message in messages:
            if message.error():
                raise RuntimeError(message.error().str())
            topic = self._topics[message.topic()]
            if message.value() is None:
                self.gone.add(message.key().decode())
                continue
            event = json.loads(message.value())
            self.gone.discard(event["id"])
            self.note(topic, event)

    def note(self, topic: Topic, event: dict[str, Any]) -> None:
        """Takes an event as it was told."""
        data = event["data"]
        self.copies[topic.name, event["id"]] += 1
        first = self.data[topic.name].setdefault(event["id"], data) is data
        if topic is STATUS:
            if data["result_id"] and not data["cached"] and data["state"] == State.COMPLETED:
                self.computed[data["result_id"]] += 1
            if first:
                self.endings.status(data)
        elif topic is DEAD_LETTERS and first:
            self.endings.letter(data)

    def again(self) -> int:
        """How many messages came that had come before."""
        return sum(self.copies.values()) - len(self.copies)

    def recomputed(self) -> int:
        """How many results were made again after they had been told of."""
        return sum(count - 1 for count in self.computed.values())
