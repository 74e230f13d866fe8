"""Dead letters: an input that a stage gave up on is kept with its attempts, and the owner is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict

from operators.stages.first import withdraw
from operators.stages.rows import Row, asset_row, dead_letter_row, notification_row, status_row
from operators.stages.services import Services
from schemas import ids
from schemas.asset import IngestRecord, IngestRequest, Source, Work
from schemas.base import Model
from schemas.chunks import ChunkTask
from schemas.errors import AssetError
from schemas.events import NOTIFICATION, DeadLetter, IngestEvent, Notification
from schemas.messages import Message
from schemas.outcome import Failed, Outcome, Subject
from schemas.pipelines import Pipeline
from schemas.ports import ObjectStore
from schemas.structs import Received
from schemas.trace import traceparent

# stages that read what producers send
FROM_PRODUCERS = frozenset({"ingest", "usage"})
RAW_BYTES = 256 * 1024
UNKNOWN_TYPE = "application/octet-stream"


class Ending(Model):
    """A failure on its way to the dead letters: the letter, and the work as far as it came.

    `raw` is a message that could not be read, where the letter cannot hold it: it is too long, or no text.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    letter: DeadLetter
    work: Work
    raw: bytes = b""


def subject_of(item: Received | Work | Ending | ChunkTask) -> Subject:
    """What a stage's events are about. Until a job is accepted, the event's id stands for the job's."""
    if isinstance(item, Ending | ChunkTask):
        item = item.work
    if isinstance(item, Received):
        trace = traceparent(item.traceparent, item.event_id)
        return Subject(item.asset_id, item.event_id, item.tenant, item.generation, item.accepted_ms, trace)
    record, generation = item.record, item.record.request.generation
    return Subject(item.asset_id, record.job_id, item.tenant, generation, record.accepted_ms, record.traceparent)


def ending_of(failed: Failed[Any]) -> Ending:
    """The dead letter of a stage's failure."""
    work = failed.item if isinstance(failed.item, Work) else _unaccepted(failed.item)
    about, error = subject_of(work), AssetError(failed.code, failed.detail)
    replayed = work.record.request.replay_of
    event = _replay_id(replayed) if replayed else work.record.event_id
    letter = DeadLetter(
        dead_letter_id=ids.event_id("dead-letter", about.job_id, about.generation),
        event_id=event, stage=failed.stage, state=failed.state, code=failed.code, message=error.sentence,
        attempts=failed.attempts, input=work.record.request, **about._asdict(),
    )  # fmt: skip
    return Ending(letter=letter, work=work)


def _unaccepted(received: Received) -> Work:
    record = IngestRecord(
        asset_id=received.asset_id, job_id=received.event_id, event_id=received.event_id,
        accepted_ms=received.accepted_ms, request=received.event().data,
        traceparent=traceparent(received.traceparent, received.event_id),
    )  # fmt: skip
    return Work(record=record, pipeline=Pipeline(name=received.pipeline))


async def run(services: Services, ending: Ending) -> Outcome[Ending]:
    """Keeps the letter, if it is not there yet, and hands on the asset's last rows."""
    letter = ending.letter.model_copy(update={"at_ms": services.clock_ms()})
    if ending.raw:
        kept = await services.store.add_bytes(letter.tenant, ending.raw, UNKNOWN_TYPE)
        letter = letter.model_copy(update={"raw_object": kept.sha256})
    standing = await services.store.create(letter_key(letter), letter.model_dump_json().encode())
    letter = DeadLetter.model_validate_json(standing)
    told = Notification(
        event_id=ids.event_id(NOTIFICATION, letter.dead_letter_id), asset_id=letter.asset_id, tenant=letter.tenant,
        owner=ending.work.record.request.owner, state=letter.state, code=letter.code, message=letter.message,
    )  # fmt: skip
    details = [attempt.detail for attempt in letter.attempts[-1:]]
    withdrawn = await withdraw(services, ending.work, AssetError(letter.code, *details))
    rows: Sequence[Row] = (
        *([status_row(withdrawn)] if withdrawn else []),
        asset_row(ending.work, letter.state, letter.code, letter.message),
        dead_letter_row(letter),
        notification_row(told, letter.accepted_ms),
    )
    return Outcome(None, rows=tuple(rows))


def letter_key(letter: DeadLetter) -> str:
    """Where a dead letter lies: by tenant and asset, in the order of generations."""
    return f"dead-letters/{letter.tenant}/{letter.asset_id}/{letter.generation:04d}-{letter.dead_letter_id}.json"


async def letters(store: ObjectStore, tenant: str, asset_id: str = "") -> list[DeadLetter]:
    """A tenant's dead letters, of one asset or of all, by asset and generation."""
    keys = await store.keys(f"dead-letters/{tenant}/{asset_id}/" if asset_id else f"dead-letters/{tenant}/")
    found = [await store.get(key) for key in keys]
    return [DeadLetter.model_validate_json(data) for data in found if data]


def replay_of(letter: DeadLetter) -> IngestEvent | None:
    """The event that sends a dead letter's input through again, as its next generation; None for unreadable input."""
    return next_try(letter, letter.input) if letter.input else None


def next_try(letter: DeadLetter, request: IngestRequest) -> IngestEvent:
    """The event that sends the letter's asset through again as this request."""
    again = {"replay_of": letter.dead_letter_id, "generation": letter.generation + 1}
    return IngestEvent(
        id=_replay_id(letter.dead_letter_id),
        source="asset-pipeline/replay",
        subject=letter.asset_id,
        data=request.model_copy(update=again),
    )


def _replay_id(dead_letter_id: str) -> str:
    return ids.event_id("replay", dead_letter_id)


def unreadable(message: Message, stage: str, why: str) -> Ending:
    """The dead letter of a message that a stage cannot read; its id derives from where it stood."""
    error = AssetError("invalid_event" if stage in FROM_PRODUCERS else "unreadable_message", why)
    where, raw = f"{message.topic}:{message.partition}:{message.offset}", message.value or b""
    place = ids.event_id("unreadable", message.topic, message.partition, message.offset)
    request = IngestRequest(source=Source(uri=where, name=where), idempotency_key=place)
    record = IngestRecord(asset_id=request.asset_id, job_id=place, event_id=place, accepted_ms=0, request=request)
    text = _text(raw)
    letter = DeadLetter(
        dead_letter_id=ids.event_id("dead-letter", place, 0), asset_id=request.asset_id, job_id=place,
        tenant=request.tenant, stage=stage, state=error.state, code=error.code, message=error.sentence,
        event_id=place, topic=message.topic, key=(message.key or b"").decode(errors="replace"), raw=text or "",
        headers={name: value.decode(errors="replace") for name, value in message.headers.items()},
    )  # fmt: skip
    return Ending(letter=letter, work=Work(record=record, pipeline=Pipeline()), raw=raw if text is None else b"")


def _text(raw: bytes) -> str | None:
    """What a letter can hold as it is: short text."""
    try:
        return raw.decode() if len(raw) <= RAW_BYTES else None
    except UnicodeDecodeError:
        return None
