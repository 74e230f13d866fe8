"""The chunks of a video: each one decode in a worker process, each of its files recorded by itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from operators.media.chunks import Range
from operators.media.plan import RenderPlan, plan_video
from operators.media.video import Poster
from operators.stages.groups import beside
from operators.stages.services import Services
from operators.stages.steps import File, Made, Step, together
from operators.stages.validate import original_of
from operators.stages.video_tasks import LIMITS, ChunkFiles, render
from schemas.asset import StepResult, Work

VERSION = "1"
PLANNING = 10


@dataclass(frozen=True)
class Rendered:
    """All chunks' files in order: digests by output, and the candidates for the poster."""

    plan: RenderPlan
    files: dict[str, list[str]]
    posters: list[Poster]


async def rendered(services: Services, work: Work, outputs: Collection[str]) -> Rendered | None:
    """Plans the video and renders the named outputs of all its chunks, the longest first; None for no outputs."""
    if not outputs:
        return None
    original, params = original_of(work), work.pipeline
    with_scratch = services.store.local(work.tenant, original.sha256, services.scratch)
    async with with_scratch as path:
        plan = await services.pools.run(
            "light", plan_video, path, work.technical, params.video, params.preview, limits=LIMITS, read=[path],
            priority=PLANNING,
        )  # fmt: skip
        plan = plan.only(outputs)
        chunks = await beside(*(_chunk(services, work, plan, path, r, sorted(outputs)) for r in plan.chunks))
    return _collected(plan, sorted(outputs), chunks)


def _collected(plan: RenderPlan, outputs: Sequence[str], chunks: list[dict[str, StepResult]]) -> Rendered:
    files = {name: [o.sha256 for chunk in chunks for o in chunk[name].outputs] for name in outputs}
    found = [p for chunk in chunks if "poster" in chunk for p in chunk["poster"].values["posters"]]
    return Rendered(plan, files, [Poster(**p) for p in found])


def steps_of(work: Work, outputs: Sequence[str], chunk: Range) -> list[Step]:
    """A step for each output of a chunk; `range` in ticks of the source's clock."""
    preview, video = work.pipeline.preview, work.pipeline.video
    small = {"from": video.preview.height}
    params: dict[str, dict[str, Any]] = {
        "mezzanine": {"encode": video.mezzanine},
        "preview": {"encode": video.preview, "from": video.mezzanine.height},
        "storyboard": small | preview.model_dump(include={"storyboard_every_s", "storyboard_width", "storyboard_most"}),
        "stills": small | preview.model_dump(include={"still_every_s", "still_size", "still_most"}),
        "poster": {"at_s": preview.poster_at_s, "from": video.mezzanine.height},
    }
    inputs = (original_of(work).sha256,)
    return [
        Step("derive", f"chunk-{name}", VERSION, inputs, {**params[name], "range": list(chunk)}) for name in outputs
    ]


async def _chunk(
    services: Services, work: Work, plan: RenderPlan, path: Path, chunk: Range, outputs: Sequence[str]
) -> dict[str, StepResult]:
    """The results by output; one decode makes those that are missing."""

    async def compute(missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        wanted = [step.name.removeprefix("chunk-") for step in missing]
        made = await services.pools.run(
            "heavy", render, path, scratch, plan.only(wanted), *chunk, limits=LIMITS, read=[path], scratch=scratch,
            priority=_length(plan, chunk) / 3600,
        )  # fmt: skip
        return {f"chunk-{name}": _made(name, made) for name in wanted}

    runs = await together(services, work, steps_of(work, outputs, chunk), compute, quiet=True)
    return {name: run.result for name, run in zip(outputs, runs, strict=True)}


def _length(plan: RenderPlan, chunk: Range) -> float:
    """Seconds of a chunk."""
    start = 0.0 if chunk[0] is None else plan.seconds(chunk[0])
    return (plan.duration if chunk[1] is None else plan.seconds(chunk[1])) - start


def _made(name: str, made: ChunkFiles) -> Made:
    kind = "video/mp4" if made.files[name].suffix == ".mp4" else "application/zip"
    values = {"posters": [asdict(p) for p in made.posters]} if name == "poster" else {}
    return Made([File(name, "chunk", made.files[name], kind)], values)
