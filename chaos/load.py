"""What is submitted: small assets and bad ones, events again, and messages that are no events, each with its end."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
from confluent_kafka import Producer

from chaos import media
from chaos.stack import LEAN, PARTITIONS, READ, Stack
from dataflows.connections import objects_of
from dataflows.submit import submission_of
from operators.stages.ingest import UNKNOWN_TYPE
from schemas import ids
from schemas.asset import ObjectKind, Source
from schemas.cloudevents import encode_ingest
from schemas.events import IngestEvent
from schemas.settings import Settings
from schemas.topics import INGEST, client_options, full_name, partition_of
from sources.folder import event_for

COMPLETED = ("completed", "")
DUPLICATE = ("duplicate", "")
CONFLICT = ("rejected", "idempotency_conflict")
INVALID = ("rejected", "invalid_event")
UNKNOWN = ("rejected", "unknown_pipeline")
# of a hundred assets
_BAD, _GARBAGE, _AGAIN, _OTHER, _CONFLICT = 5, 2, 6, 4, 2
_WEIGHTS = (72, 12, 12, 4)
RATE = 4.0
_DELIVERY_MS = 900_000
_UPLOADS = 16


@dataclass(frozen=True)
class Sent:
    """A message to the ingest topic; `event` is None for garbage.

    It ends in `end`, a state and its code, unless another event for its asset was first.
    """

    value: bytes
    key: str
    end: tuple[str, str]
    event: IngestEvent | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    fingerprint: str = ""

    @property
    def id(self) -> str:
        """The event's id, or of garbage its text."""
        return self.event.id if self.event else repr(self.value)

    @property
    def job_id(self) -> str:
        """The job of an accepted event."""
        assert self.event is not None
        return ids.job_id(self.event.data.asset_id, self.fingerprint)


@dataclass(frozen=True)
class Delivered:
    """A message where it lies in the ingest topic."""

    sent: Sent
    partition: int
    offset: int
    topic: str

    @property
    def id(self) -> str:
        """What it is known by in events: the event's id, or of garbage its place."""
        return self.sent.event.id if self.sent.event else ids.event_id("unreadable", *self.place)

    @property
    def asset_id(self) -> str:
        """The asset that it is about, or that stands for it where it is garbage."""
        return self.sent.event.data.asset_id if self.sent.event else ids.asset_id("default", self.id)

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset."""
        return self.topic, self.partition, self.offset


@dataclass
class Load:
    """Seeded messages, sent on a thread of its own; `delivered` are those that the broker has, of those `planned`."""

    stack: Stack
    seed: int
    planned: set[str] = field(default_factory=set)
    delivered: list[Delivered] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    def assets(self, count: int, bad: int = _BAD) -> list[Sent]:
        """Events of so many assets, of which this share (%) is bad."""
        random = Random(f"{self.seed}/assets")
        made = [self._asset(random, number, bad) for number in range(count)]
        asyncio.run(self._upload([path for path, _ in made]))
        return [sent for _, sent in made]

    def _asset(self, random: Random, number: int, bad: int) -> tuple[Path, Sent]:
        good = random.choices(media.GOOD, _WEIGHTS)[0]
        maker = random.choice(list(media.BAD)) if random.randrange(100) < bad else good
        path = maker(self.stack.inputs / f"{number:05d}", np.random.default_rng([self.seed, number]))
        pipeline = READ if maker is media.document else LEAN
        return path, self.event(path, pipeline, media.BAD.get(maker, COMPLETED))

    async def _upload(self, paths: Sequence[Path]) -> None:
        """As `asset-pipeline submit` does it: bytes go into the store before the event is sent."""
        store, tenant = objects_of(self.stack.settings), self.stack.settings.tenant
        for start in range(0, len(paths), _UPLOADS):
            some = [path.read_bytes() for path in paths[start : start + _UPLOADS] if path.exists()]
            await asyncio.gather(*(store.add_bytes(tenant, x, UNKNOWN_TYPE, ObjectKind.ORIGINAL) for x in some))

    def event(self, path: Path, pipeline: str, end: tuple[str, str] = COMPLETED, key: str = "") -> Sent:
        """The event of a file that is in the store, under a key that is its name unless another is given."""
        settings = self.stack.settings.model_copy(update={"pipeline": pipeline})
        content = path.read_bytes() if path.exists() else path.name.encode()
        source = Source.of_object(hashlib.sha256(content).hexdigest(), path.name)
        event = event_for(source, key or path.name, submission_of(settings), datetime.now(UTC))
        return sent_of(settings, event, end)

    def mixed(self, count: int) -> list[Sent]:
        """Events of so many assets, with some again, some under other ids or payloads, and garbage."""
        random = Random(f"{self.seed}/mixed")
        plan = self.assets(count)
        good = [sent for sent in plan if sent.end == COMPLETED]
        share = [max(1, count * percent // 100) for percent in (_AGAIN, _OTHER, _CONFLICT, _GARBAGE)]
        extra = [
            *random.sample(good, min(len(good), share[0])),
            *(other(random, sent) for sent in random.sample(good, min(len(good), share[1]))),
            *(conflicting(random, sent) for sent in random.sample(good, min(len(good), share[2]))),
            *(garbage(random) for _ in range(share[3])),
            unknown(random, good[0]),
        ]
        for sent in extra:
            plan.insert(random.randrange(len(plan) + 1), sent)
        return plan

    def parts(self, count: int, parts: int) -> list[list[Sent]]:
        """The same in so many parts."""
        plan = self.mixed(count)
        return [plan[number::parts] for number in range(parts)]

    def start(self, plan: Sequence[Sent], rate: float = RATE) -> None:
        """Begins to send, so many messages a second."""
        self.planned |= {sent.id for sent in plan}
        thread = threading.Thread(target=self.send, args=(plan, rate), daemon=True)
        thread.start()
        self._threads.append(thread)

    def send(self, plan: Iterable[Sent], rate: float = 0.0) -> None:
        """Sends messages, at once or so many a second, and returns when they are delivered."""
        producer = Producer(_options(self.stack.settings))
        topic = full_name(self.stack.settings, INGEST)
        for sent in plan:
            producer.produce(
                topic, sent.value, sent.key, partition_of(sent.key, PARTITIONS), headers=list(sent.headers),
                on_delivery=partial(self._on_delivery, sent),
            )  # fmt: skip
            if rate:
                producer.flush(1 / rate)
                time.sleep(1 / rate)
        producer.flush()

    def _on_delivery(self, sent: Sent, error: Any, message: Any) -> None:
        if error is None:
            self.delivered.append(Delivered(sent, message.partition(), message.offset(), message.topic()))

    @property
    def sending(self) -> bool:
        """Whether there is more to come."""
        return any(thread.is_alive() for thread in self._threads)

    def submitted(self) -> dict[str, Delivered]:
        """What was delivered, once for each event and each message that is none."""
        return {delivered.id: delivered for delivered in list(self.delivered)}


def _options(settings: Settings) -> dict[str, Any]:
    return {**client_options(settings), "acks": "all", "enable.idempotence": True, "message.timeout.ms": _DELIVERY_MS}


def sent_of(settings: Settings, event: IngestEvent, end: tuple[str, str]) -> Sent:
    """The message of an event."""
    record = encode_ingest(INGEST.name, event)
    known = settings.pipelines().get(event.data.pipeline)
    return Sent(
        record.value, record.key, end, event, tuple(record.headers.items()),
        known.fingerprint if known else "",
    )  # fmt: skip


def changed(random: Random, sent: Sent, end: tuple[str, str], **data: Any) -> Sent:
    """An event like this one under another id, with other data."""
    assert sent.event is not None
    new = sent.event.data.model_copy(update=data)
    event = sent.event.model_copy(update={"id": str(UUID(int=random.getrandbits(128))), "data": new})
    record = encode_ingest(INGEST.name, event)
    return Sent(record.value, record.key, end, event, tuple(record.headers.items()), sent.fingerprint)


def other(random: Random, sent: Sent) -> Sent:
    """The same request under another id: whichever comes second is a duplicate."""
    return changed(random, sent, COMPLETED)


def under_key(random: Random, sent: Sent) -> Sent:
    """The same content under another idempotency key: another asset."""
    return changed(random, sent, sent.end, idempotency_key=f"{random.random()}")


def conflicting(random: Random, sent: Sent) -> Sent:
    """Another payload under the same key: the one that comes first has it."""
    assert sent.event is not None
    declared = sent.event.data.declared.model_copy(update={"title": f"Title {random.random()}"})
    return changed(random, sent, COMPLETED, declared=declared)


def unknown(random: Random, sent: Sent) -> Sent:
    """A request for a pipeline that nobody configured."""
    return changed(random, sent, UNKNOWN, pipeline="nowhere", idempotency_key=f"{random.random()}")


def garbage(random: Random) -> Sent:
    """A message that is no event."""
    value = random.choice((b"not JSON %d", b'{"id": %d}', b"\xff\xfe %d")) % random.getrandbits(32)
    return Sent(value, f"{random.getrandbits(32)}", INVALID)


def by_asset(submitted: Iterable[Delivered]) -> Iterator[tuple[str, list[Delivered]]]:
    """What was submitted of each asset."""
    found: dict[str, list[Delivered]] = {}
    for delivered in submitted:
        found.setdefault(delivered.asset_id, []).append(delivered)
    yield from found.items()
