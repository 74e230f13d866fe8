"""Source, decode, stages, sinks: the parts of which flows are made."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream, Stream

from dataflows.deleting import erase_made
from dataflows.intake import Intake
from dataflows.runtime import Runtime
from operators.attempts import Stage
from operators.stage import StageOut, stage
from operators.stages.dead_letter import Ending, ending_of, subject_of
from operators.stages.ingest import CODEC
from operators.stages.rows import Row, status_row
from schemas import topics
from schemas.arrow import arrow_schema
from schemas.asset import Work
from schemas.batches import encode_works
from schemas.chunks import ChunkTask
from schemas.cloudevents import encode_row
from schemas.errors import AssetError, State
from schemas.messages import Record
from schemas.outcome import Codec, Failed, Outcome, model_codec
from schemas.tables import TABLES
from schemas.topics import Topic

WORK: Codec[Any] = model_codec(Work)
# the form of a stage's items in a snapshot, and the seconds that one attempt may take; its module has its name
STAGES: dict[str, tuple[Codec[Any], float]] = {
    "ingest": (CODEC, 7200),
    "validate": (WORK, 300),
    "derive": (WORK, 24 * 3600),
    "chunks": (model_codec(ChunkTask), 2 * 3600),
    "enrich": (WORK, 6 * 3600),
    "register": (WORK, 600),
    "publish": (WORK, 600),
    "dead_letter": (model_codec(Ending), 600),
}


def run_stage(runtime: Runtime, name: str, up: KeyedStream[Any]) -> StageOut:
    """One stage on the runtime's services. Its module is imported here: a flow loads no other's libraries."""
    settings, services = runtime.settings, runtime.services
    module, (codec, timeout_s) = import_module(f"operators.stages.{name}"), STAGES[name]

    async def on_item(item: Any, _attempt: int) -> Outcome[Any]:
        if await runtime.tombstones.cover(item):
            return Outcome(None, state=State.DUPLICATE)
        outcome: Outcome[Any] = Outcome(None)
        try:
            outcome = await module.run(services, item)
        except AssetError:  # of a deleted asset, nobody is told of it
            if not (runtime.tombstones.live and await runtime.tombstones.cover(item)):
                raise
        made = item if outcome.item is None else outcome.item
        if runtime.tombstones.live and await runtime.tombstones.cover(made):
            await erase_made(settings, runtime.store, made if isinstance(made, Work) else made.work)
            return Outcome(None, state=State.DUPLICATE)
        return outcome

    config = Stage(
        name=name, run=on_item, codec=codec, describe=subject_of, loop=runtime.loop, gate=runtime.gate,
        timeout_s=timeout_s, attempts=settings.attempts, backoff_s=settings.backoff_s, patience_s=settings.patience,
        on_event=services.on_event,
    )  # fmt: skip
    return stage(name, up, config)


def send(runtime: Runtime, step_id: str, up: KeyedStream[Work], topic: Topic) -> None:
    """Hands work on to the next flow."""

    def batches(works: list[Work]) -> list[Record]:
        runtime.handed_on(topic, works)
        return _batches(topic, works)

    op.output(step_id, up, runtime.sink([topic], batches))


def _batches(topic: Topic, works: list[Work]) -> list[Record]:
    """Messages of several works each, none larger than the topic takes."""
    value, headers = encode_works([(work.asset_id, work) for work in works])
    if len(value) <= topic.most_bytes // 2 or len(works) == 1:
        return [Record(topic.name, works[0].asset_id, value, headers)]
    half = len(works) // 2
    return _batches(topic, works[:half]) + _batches(topic, works[half:])


def conclude(flow: Dataflow, runtime: Runtime, intake: Intake, stages: list[StageOut]) -> None:
    """What becomes of everything: failures to the dead letters, rows to the tables, events to their topics."""
    failed = op.merge("failed", *(s.errs for s in stages))
    endings = op.merge("endings", op.map_value("ending", failed, partial(_ending, runtime)), intake.errs)
    events = op.merge("events", *(s.events for s in stages))
    rows = op.map_value("event_rows", events, status_row), *(s.rows for s in stages), keep_letters(runtime, endings)
    tell(runtime, op.merge("rows", *rows))


def keep_letters(runtime: Runtime, endings: KeyedStream[Ending]) -> KeyedStream[Row]:
    """Keeps dead letters; their assets' last rows."""
    lettered = run_stage(runtime, "dead_letter", endings)
    op.inspect("undeliverable", lettered.errs, _raise)
    return lettered.rows


def tell(runtime: Runtime, rows: KeyedStream[Row]) -> None:
    """Rows to their tables, and the events among them to their topics."""
    for name, model in TABLES.items():
        op.output(f"{name}_table", _of_table(name, rows), runtime.table(name, arrow_schema(model)))
    if runtime.settings.events:
        told = op.filter("told", rows, lambda item: item[1][0] == "events")
        op.output("topics", told, runtime.sink(topics.BORDER, _events))


def _ending(runtime: Runtime, failed: Failed[Any]) -> Ending:
    runtime.on_failed(failed)
    return ending_of(failed)


def _raise(_step: str, item: Any) -> None:
    """A dead letter that cannot be kept ends the flow: after a restart it is tried again, and nothing is lost."""
    raise RuntimeError(f"the dead letter of {item[0]} could not be kept: {item[1].code} {item[1].detail}")


def _of_table(name: str, rows: KeyedStream[Row]) -> Stream[tuple[str, dict[str, Any]]]:
    def pick(item: tuple[str, Row]) -> tuple[str, dict[str, Any]] | None:
        table, row = item[1]
        return (row["row_id"], row) if table == name else None

    return op.filter_map(f"{name}_rows", rows, pick)


def _events(rows: list[Row]) -> list[Record]:
    return [encode_row(topics.OF_EVENT[row["type"]].name, row) for _table, row in rows]
