"""What flows read: events of producers, from the inbox or the ingest topic, and work from the flow before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream, Stream

from dataflows.recent import recent
from dataflows.runtime import Runtime
from operators.stages.dead_letter import Ending, unreadable
from schemas import topics
from schemas.batches import decode_works
from schemas.chunks import decode_task
from schemas.cloudevents import decode_ingest, decode_usage
from schemas.messages import Message
from schemas.topics import Topic
from sources.inbox import Line

Decoded = list[tuple[str, Any]]


@dataclass(frozen=True)
class Intake:
    """What could be read, and the dead letters of what could not."""

    oks: KeyedStream[Any]
    errs: KeyedStream[Ending]


def submissions(flow: Dataflow, runtime: Runtime) -> Intake:
    """The events of producers. Kafka's may be delivered again; in the inbox an event stands again to be run again."""
    if not runtime.settings.events:
        lines = op.input("inbox", flow, runtime.inbox())
        written = op.filter("written", lines, lambda line: bool(line.value.strip()))  # a deletion blanks lines
        return _decoded(runtime, op.map("message", written, message_of), "ingest", submission)
    intake = _decoded(runtime, op.input("submissions", flow, runtime.topic(topics.INGEST)), "ingest", submission)
    return Intake(recent("recent", intake.oks, lambda event: event.event_id), intake.errs)


def message_of(line: Line) -> Message:
    """A line of the inbox as the message that it stands for."""
    return Message("inbox", 0, line.offset, None, line.value, {})


def submission(message: Message) -> Decoded:
    """A message as (asset id, event). Raises ValueError."""
    event = decode_ingest(message)
    return [(event.asset_id, event)]


def work(flow: Dataflow, runtime: Runtime, topic: Topic) -> Intake:
    """What the flow before has handed on."""
    return _decoded(runtime, op.input("work", flow, runtime.topic(topic)), runtime.name, handed_on)


def handed_on(message: Message) -> Decoded:
    """A message as (asset id, work) pairs. Raises ValueError."""
    return [(found.asset_id, found) for found in decode_works(message)]


def chunks(flow: Dataflow, runtime: Runtime) -> Intake:
    """The chunks that are asked for, by their ids."""
    return _decoded(runtime, op.input("asked", flow, runtime.topic(topics.CHUNKS)), runtime.name, chunk)


def chunk(message: Message) -> Decoded:
    """A message as (chunk id, task). Raises ValueError."""
    task = decode_task(message)
    return [(task.chunk_id, task)]


def uses(flow: Dataflow, runtime: Runtime) -> Intake:
    """The events of use, as rows by their tenants."""
    return _decoded(runtime, op.input("uses", flow, runtime.topic(topics.USAGE)), runtime.name, use)


def use(message: Message) -> Decoded:
    """A message as (tenant, row of `usage_events`). Raises ValueError."""
    row = decode_usage(message)
    return [(row["tenant"], row)]


def decoded(message: Message, stage: str, decode: Callable[[Message], Decoded]) -> Decoded:
    """A message's items, or the dead letter of what cannot be read."""
    try:
        return decode(message)
    except ValueError as error:
        ending = unreadable(message, stage, str(error))
        return [(ending.letter.asset_id, ending)]


def _decoded(runtime: Runtime, log: Stream[Message], stage: str, decode: Callable[[Message], Decoded]) -> Intake:
    def read(batch: list[Message]) -> Decoded:
        found = [(message, item) for message in batch for item in decoded(message, stage, decode)]
        runtime.hold((message, key) for message, (key, _) in found)
        return [item for _message, item in found]

    readable = op.branch("readable", op.flat_map_batch("decode", log, read), lambda item: type(item[1]) is not Ending)
    return Intake(readable.trues, readable.falses)
