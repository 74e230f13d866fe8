"""The ladder by content: a trial of a few stretches, recorded like any step, names the rungs that are encoded."""

from __future__ import annotations

from typing import Any

from operators.media.trial import chosen, trial
from operators.stages.services import Services
from operators.stages.steps import Made, Step, once
from operators.stages.validate import original_of
from operators.stages.video_tasks import LIMITS
from schemas.asset import StepRun, Work
from schemas.pipelines import Rung

VERSION = "1"
PRIORITY = 5


def step_of(work: Work) -> Step:
    """The trial depends on the original, on what is tried, and on the mezzanine, which is the ladder's top."""
    video = work.pipeline.video
    how: dict[str, Any] = {"by_content": video.by_content, "mezzanine": video.mezzanine}
    return Step("derive", "trial", VERSION, (original_of(work).sha256,), how)


async def with_ladder(services: Services, work: Work) -> tuple[Work, list[StepRun]]:
    """The work with the rungs that a trial chose in its pipeline, and the trial; as it is where none is wanted."""
    video = work.pipeline.video
    if video.by_content is None:
        return work, []
    run = await once(services, work, step_of(work), lambda _scratch: _tried(services, work))
    rungs = tuple(Rung.model_validate(rung) for rung in run.result.values["rungs"])
    wanted = video.model_copy(update={"ladder": (*video.ladder, *rungs), "by_content": None})
    pipeline = work.pipeline.model_copy(update={"video": wanted})
    return work.model_copy(update={"pipeline": pipeline}), [run]


async def _tried(services: Services, work: Work) -> Made:
    video = work.pipeline.video
    assert video.by_content is not None
    async with services.store.local(work.tenant, original_of(work).sha256, services.scratch) as path:
        points = await services.pools.run(
            "heavy", trial, path, work.technical, video, limits=LIMITS, read=[path], priority=PRIORITY
        )
    rungs = chosen(points, video.mezzanine.crf, video.by_content)
    tried = [
        {"height": p.height, "crf": p.crf, "bit_rate": round(p.bits), "xpsnr_db": round(p.quality, 2)} for p in points
    ]
    return Made(values={"points": tried, "rungs": [rung.model_dump(mode="json") for rung in rungs]})
