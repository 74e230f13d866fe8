"""A stand-in for the flows: it reads the ingest topic, and tells on the status topic what a test wants told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from schemas import ids
from schemas.cloudevents import decode_ingest, encode
from schemas.errors import State
from schemas.events import IngestEvent, StatusChanged
from schemas.messages import Message
from schemas.settings import Settings
from schemas.topics import INGEST, STATUS
from sinks.kafka import KafkaWriter
from sources.kafka_tail import KafkaTail

Answer = Callable[[IngestEvent], Iterable[StatusChanged]]


def told(event: IngestEvent, stage: str, state: State, *, answer: bool = False, **rest: Any) -> StatusChanged:
    """What is told of the event's asset: of its job, or as ingest's answer to the event."""
    request = event.data
    job = event.id if answer else ids.job_id(request.asset_id, request.pipeline)
    about = {"asset_id": request.asset_id, "tenant": request.tenant, "generation": request.generation}
    return StatusChanged.of(**about, job_id=job, stage=stage, state=state, **rest)


def accepts(event: IngestEvent, *ends: StatusChanged) -> list[StatusChanged]:
    """An accepted event, and what becomes of its job."""
    return [
        told(event, "ingest", State.PROCESSING, answer=True),
        told(event, "ingest", State.COMPLETED, step="fetch", duration_s=0.1),
        told(event, "ingest", State.COMPLETED, answer=True),
        *ends,
    ]


def completes(event: IngestEvent) -> list[StatusChanged]:
    """An accepted event whose job is completed."""
    return accepts(event, *(told(event, stage, State.COMPLETED) for stage in ("validate", "publish")))


@contextmanager
def answering(settings: Settings, answer: Answer) -> Iterator[list[IngestEvent]]:
    """Each event that comes to the ingest topic is answered, twice over; fills with the events."""
    tail, writer = KafkaTail(settings, INGEST, 30.0), KafkaWriter(settings, [STATUS])
    stop, seen = threading.Event(), list[IngestEvent]()

    def work() -> None:
        while not stop.is_set():
            for key, value in tail.pull(0.05):
                seen.append(decode_ingest(Message(INGEST.name, 0, 0, key, value, {})).event())
                events = list(answer(seen[-1]))
                writer.write(encode(STATUS.name, event) for event in [*events, *events])

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
        writer.close()
