"""Derive and preview, which share one decode, with the integrity check beside them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import chain
from typing import Any

from operators.stages import audios, chapters, documents, images, templates, videos
from operators.stages.groups import beside
from operators.stages.services import Services
from operators.stages.steps import events_of
from operators.stages.validate import integrity
from schemas import metrics
from schemas.asset import Kind, StepRun, Work
from schemas.errors import AssetError
from schemas.outcome import Outcome

MAKERS: dict[Kind, Callable[[Services, Work], Coroutine[Any, Any, list[StepRun]]]] = {
    Kind.VIDEO: videos.run,
    Kind.AUDIO: audios.run,
    Kind.IMAGE: images.run,
    Kind.DOCUMENT: documents.run,
    Kind.TEMPLATE: templates.run,
}


async def run(services: Services, work: Work) -> Outcome[Work]:
    """All files of the asset's kind. The first error ends what runs beside it."""
    if work.kind not in MAKERS:
        raise AssetError("unsupported_type", f"no renditions are made of a {work.kind}")
    checked, *made = await beside(
        integrity(services, work), MAKERS[work.kind](services, work), chapters.run(services, work)
    )
    runs = [checked, *chain(*made)]
    if work.technical and not all(run.cached for run in runs):
        metrics.MEDIA_SECONDS.labels(work.kind).inc(work.technical.duration or 0.0)
    return Outcome(work.with_steps(*runs), events=events_of(services, work, runs))
