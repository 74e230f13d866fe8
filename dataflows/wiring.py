"""Source, decode, stages, sinks: the parts of which flows are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream, Stream
from pydantic import ValidationError

from dataflows.connections import table_options, table_uri
from dataflows.runtime import Runtime
from dataflows.tombstones import Tombstones
from operators.attempts import Stage
from operators.gate import gated
from operators.stage import StageOut, stage
from operators.stages import dead_letter, derive, enrich, ingest, publish, register, validate
from operators.stages.dead_letter import Ending, ending_of, subject_of, unreadable
from operators.stages.rows import Row, status_row
from schemas.arrow import arrow_schema
from schemas.asset import Work
from schemas.errors import State
from schemas.events import IngestEvent
from schemas.outcome import Codec, Outcome, model_codec
from schemas.settings import Settings
from schemas.tables import TABLES
from sinks.delta import DeltaSink
from sources.inbox import InboxSource, Line

MOST_BYTES = 2**20
Run = Callable[[Any, Any], Awaitable[Outcome[Any]]]
# seconds that one attempt of a stage may take
TIMEOUTS = {"ingest": 7200, "validate": 300, "derive": 24 * 3600, "enrich": 6 * 3600}


def decode(line: Line) -> tuple[str, IngestEvent | Ending]:
    """A line of the inbox as (asset id, event), or as the dead letter of what cannot be read."""
    try:
        if len(line.value) > MOST_BYTES:
            raise ValueError(f"{len(line.value)} bytes, limit {MOST_BYTES}")
        event = IngestEvent.model_validate_json(line.value)
    except ValueError as error:
        ending = unreadable("inbox", line.offset, line.value, _reason(error))
        return ending.letter.asset_id, ending
    return event.data.asset_id, event


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def run_stage(runtime: Runtime, name: str, run: Run, up: KeyedStream[Any], codec: Codec[Any]) -> StageOut:
    """One stage on the runtime's services."""
    settings, services = runtime.settings, runtime.services

    async def on_item(item: Any, _attempt: int) -> Outcome[Any]:
        if runtime.tombstones.cover(item):
            return Outcome(None, state=State.DUPLICATE)
        return await run(services, item)

    config = Stage(
        name=name, run=on_item, codec=codec, describe=subject_of, loop=runtime.loop, gate=runtime.gate,
        timeout_s=TIMEOUTS.get(name, 600), attempts=settings.attempts, backoff_s=settings.backoff_s,
        patience_s=settings.patience, on_event=services.on_event,
    )  # fmt: skip
    return stage(name, up, config)


def build(runtime: Runtime) -> Dataflow:
    """All stages in one flow, from the inbox to the tables."""
    settings, work = runtime.settings, model_codec(Work)
    flow = Dataflow("asset_pipeline")
    inbox = InboxSource(settings.below("inbox", "ingest.jsonl"), follow=settings.follow)
    log = op.input("inbox", flow, gated(inbox, runtime.gate))
    lines = op.filter("written", log, lambda line: bool(line.value.strip()))  # a deletion blanks lines
    submitted = op.branch("readable", op.map("decode", lines, decode), lambda item: isinstance(item[1], IngestEvent))

    ingested = run_stage(runtime, "ingest", ingest.run, submitted.trues, model_codec(IngestEvent))
    validated = run_stage(runtime, "validate", validate.run, ingested.oks, work)
    derived = run_stage(runtime, "derive", derive.run, validated.oks, work)
    enriched = run_stage(runtime, "enrich", enrich.run, derived.oks, work)
    registered = run_stage(runtime, "register", register.run, enriched.oks, work)
    published = run_stage(runtime, "publish", publish.run, registered.oks, work)
    stages = [ingested, validated, derived, enriched, registered, published]

    failed = op.merge("failed", *(s.errs for s in stages))
    endings = op.merge("endings", op.map_value("ending", failed, ending_of), submitted.falses)
    lettered = run_stage(runtime, "dead_letter", dead_letter.run, endings, model_codec(Ending))
    op.inspect("undeliverable", lettered.errs, _raise)

    events = op.merge("events", *(s.events for s in stages))
    rows = op.merge("rows", op.map_value("event_rows", events, status_row), *(s.rows for s in [*stages, lettered]))
    write_tables(settings, rows, runtime.tombstones)
    return flow


def _raise(_step: str, item: Any) -> None:
    """A dead letter that cannot be kept ends the flow: after a restart it is tried again, and nothing is lost."""
    raise RuntimeError(f"the dead letter of {item[0]} could not be kept: {item[1].code} {item[1].detail}")


def write_tables(settings: Settings, rows: KeyedStream[Row], tombstones: Tombstones) -> None:
    """Each row into its table, less those of deleted assets: a snapshot may hold some too."""
    for name, model in TABLES.items():
        sink = DeltaSink(
            table_uri(settings, name), arrow_schema(model), table_options(settings), patience_s=settings.patience,
            drop=tombstones.cover_row,
        )  # fmt: skip
        op.output(f"{name}_table", _of_table(name, rows), sink)


def _of_table(name: str, rows: KeyedStream[Row]) -> Stream[tuple[str, dict[str, Any]]]:
    def pick(item: tuple[str, Row]) -> tuple[str, dict[str, Any]] | None:
        table, row = item[1]
        return (row["row_id"], row) if table == name else None

    return op.filter_map(f"{name}_rows", rows, pick)
