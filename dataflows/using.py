"""The parts of the flow `usage`: its sink and its dead letters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from dataflows.runtime import Runtime
from dataflows.tombstones import Tombstones
from dataflows.usage_windows import EVENTS, Windows
from operators.stages import dead_letter
from operators.stages.dead_letter import Ending
from operators.stages.rows import Row
from schemas import metrics
from schemas.arrow import arrow_schema
from schemas.errors import AssetError
from schemas.tables import USAGE_TABLES
from sinks.usage import UsageSink

_WAIT_S = 1.0


def usage_sink(runtime: Runtime) -> UsageSink:
    """The sink of events' rows and of the windows that are due."""

    def gone() -> set[str]:
        return runtime.loop.run(Tombstones.load(runtime.store)).assets

    def living(rows: pa.Table) -> pa.Table:
        # one listing: a question for each asset would be one for each event
        return rows.filter(pc.invert(pc.is_in(rows["asset_id"], pa.array(gone(), pa.string()))))

    settings, windows = runtime.settings, Windows(runtime.settings, gone)
    events = runtime.table(EVENTS, arrow_schema(USAGE_TABLES[EVENTS]), living)
    return UsageSink(
        events, windows.compute, windows.stale, runtime.gate.pulse.beat, settings.process, settings.processes
    )


def keep_letters(runtime: Runtime, endings: Sequence[tuple[str, Ending]]) -> list[tuple[str, Row]]:
    """Keeps dead letters, and returns their rows; the dataflow waits, so that no offset is committed before.

    Raises AssetError where the store has been away for longer than the settings' patience.
    """
    until = time.monotonic() + runtime.settings.patience
    while True:
        try:
            return runtime.loop.run(_kept(runtime, endings))
        except AssetError as error:
            if not error.outage or time.monotonic() > until:
                raise
        runtime.gate.pulse.beat()
        time.sleep(_WAIT_S)


async def _kept(runtime: Runtime, endings: Sequence[tuple[str, Ending]]) -> list[tuple[str, Row]]:
    found = await asyncio.gather(*(_rows_of(runtime, ending) for _key, ending in endings))
    for _key, ending in endings:
        metrics.DEAD_LETTERS.labels(ending.letter.stage, ending.letter.code).inc()
    return [(key, row) for (key, _), rows in zip(endings, found, strict=True) for row in rows]


async def _rows_of(runtime: Runtime, ending: Ending) -> Sequence[Row]:
    if await runtime.tombstones.cover(ending):
        return ()
    return (await dead_letter.run(runtime.services, ending)).rows
