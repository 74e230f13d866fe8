"""Validate: the quick gate that everything waits for, and the integrity check that runs beside the work."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from operators.media.content_type import detect, sample_of
from operators.pools import TaskLimits
from operators.stages.services import Services
from operators.stages.steps import Made, Step, events_of, once
from operators.stages.validate_tasks import CHECKS, gate
from schemas.asset import Kind, Ref, StepRun, Work
from schemas.errors import AssetError
from schemas.outcome import Outcome
from schemas.technical import Technical

VERSION = "2"
DETECT_S = 60.0
GATE_LIMITS = TaskLimits(wall_s=30, cpu_s=30)
CHECK_LIMITS = TaskLimits(wall_s=3600, cpu_s=3600)


def original_of(work: Work) -> Ref:
    """The work's original."""
    if work.original is None:
        raise AssetError("internal", "the original was never fetched")
    return work.original


async def run(services: Services, work: Work) -> Outcome[Work]:
    """The quick gate: kind, media type and technical metadata. Raises the codes of the gate."""
    request, original = work.record.request, original_of(work)
    declared = {"named": f"*{PurePosixPath(request.source.name).suffix}", "declared": request.declared.media_type}
    step = Step("validate", "gate", VERSION, (original.sha256,), {**declared, "limits": work.pipeline.limits})

    async def compute(scratch: Path) -> Made:
        async with services.store.local(work.tenant, original.sha256, scratch) as path:
            sample = await asyncio.to_thread(sample_of, path)
            found = await services.sniffers.call(detect, sample, timeout_s=DETECT_S)
            detected, technical = await services.pools.run(
                "light", gate, path, found, declared["named"], declared["declared"], work.pipeline.limits,
                limits=GATE_LIMITS, read=[path], priority=10,
            )  # fmt: skip
        return Made(values={"detected": asdict(detected), "technical": technical.model_dump(mode="json")})

    run_ = await once(services, work, step, compute)
    values = run_.result.values
    typed = original.model_copy(update={"media_type": values["detected"]["media_type"]})
    changes = {
        "kind": Kind(values["detected"]["kind"]),
        "technical": Technical(**values["technical"]),
        "original": typed,
    }
    return Outcome(work.with_steps(run_, **changes), events=events_of(services, work, [run_]))


async def integrity(services: Services, work: Work) -> StepRun:
    """Decodes what the gate did not: all audio, key frames, pages or pixels. Raises the codes of damaged content."""
    original = original_of(work)
    known: dict[str, Any] = {"kind": work.kind, "limits": work.pipeline.limits}
    if work.kind in (Kind.DOCUMENT, Kind.TEMPLATE):
        known["media_type"] = original.media_type
    step = Step("validate", "integrity", VERSION, (original.sha256,), known)

    async def compute(scratch: Path) -> Made:
        async with services.store.local(work.tenant, original.sha256, scratch) as path:
            lane = "heavy" if work.kind in (Kind.VIDEO, Kind.AUDIO) else "light"
            found = await services.pools.run(
                lane,
                CHECKS[str(work.kind)],
                path,
                original.media_type,
                work.pipeline.limits,
                limits=CHECK_LIMITS,
                read=[path],
            )
        return Made(values=found)

    return await once(services, work, step, compute)
