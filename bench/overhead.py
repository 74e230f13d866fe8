"""What the flow itself costs an asset: the real flow, from inbox to tables, with stages that do nothing."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main
from deltalake import DeltaTable

from bench.measure import Row
from dataflows.running import EPOCH
from dataflows.runtime import Runtime
from dataflows.submit import append, submission_of
from dataflows.whole import whole
from operators.stages import derive, enrich, ingest, publish, register, validate
from operators.stages.rows import asset_row
from operators.stages.services import Services
from schemas.asset import IngestRecord, Ref, Source, Work
from schemas.errors import State
from schemas.events import IngestEvent
from schemas.outcome import Outcome
from schemas.pipelines import Pipeline
from schemas.settings import Settings
from schemas.structs import Received
from sources.folder import event_for


async def _ingest(services: Services, received: Received) -> Outcome[Work]:
    event = received.event()
    now, asset = services.clock_ms(), event.data.asset_id
    record = IngestRecord(asset_id=asset, job_id=event.id, event_id=event.id, accepted_ms=now, request=event.data)
    return Outcome(Work(record=record, pipeline=_PIPELINE, original=_ORIGINAL))


async def _pass_on(_services: Services, work: Work) -> Outcome[Work]:
    return Outcome(work)


async def _end(_services: Services, work: Work) -> Outcome[Work]:
    return Outcome(work, rows=(asset_row(work, State.COMPLETED),))


_INSTEAD = {ingest: _ingest, publish: _end}
_PIPELINE, _ORIGINAL = Pipeline(), Ref(sha256="0" * 64, bytes=0, media_type="video/mp4")


def measured(assets: int) -> Row:
    """Milliseconds an asset, from the flow's start to its end, the tables' last commit included."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        settings = Settings(out=Path(folder))
        append(settings, _events(settings, assets))
        for stage in (ingest, validate, derive, enrich, register, publish):
            stack.enter_context(patch.object(stage, "run", _INSTEAD.get(stage, _pass_on)))
        recovery = settings.below("recovery")
        with Runtime(settings, "pipeline", recovery) as runtime:
            seconds = _run(whole(runtime), recovery)
        _require_all(settings, assets)
    return Row("overhead of the flow with stages that do nothing: ms an asset", 1000 * seconds / assets, 2.0)


def _events(settings: Settings, assets: int) -> list[IngestEvent]:
    submission, epoch = submission_of(settings), datetime.fromtimestamp(0, UTC)
    sources = (Source(uri=f"file:///{n}.mp4", name=f"{n}.mp4", sha256=f"{n:064x}") for n in range(assets))
    return [event_for(source, source.name, submission, epoch) for source in sources]


def _run(flow: Any, recovery: Path) -> float:
    started = time.perf_counter()
    cli_main(flow, epoch_interval=EPOCH, recovery_config=RecoveryConfig(str(recovery)))
    return time.perf_counter() - started


def _require_all(settings: Settings, assets: int) -> None:
    rows = DeltaTable(str(settings.below("tables", "events"))).to_pyarrow_table(columns=["asset_id"])
    found = len(set(rows["asset_id"].to_pylist()))
    if found != assets:
        raise RuntimeError(f"the flow ended with {found} of {assets} assets in its table")
