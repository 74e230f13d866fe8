"""The chunks of a video: each one decode in a worker process, each of its files recorded by itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from operators.media.appeal import Candidate
from operators.media.chunks import Range
from operators.media.ladder import Encode, Size
from operators.media.plan import RenderPlan, plan_video
from operators.stages.groups import beside
from operators.stages.services import Services
from operators.stages.steps import File, Made, Step, together
from operators.stages.validate import original_of
from operators.stages.video_tasks import LIMITS, ChunkFiles, render
from schemas.asset import StepResult, Work

VERSION = "2"
PLANNING = 10
ENCODES = "encodes"


@dataclass(frozen=True)
class Rendered:
    """All chunks' files in order: digests by output; the candidates for stills, and of each poster file its own."""

    plan: RenderPlan
    files: dict[str, list[str]]
    candidates: list[Candidate]
    posters: list[Candidate]


async def rendered(
    services: Services, work: Work, outputs: Collection[str], copied: Collection[str] = ()
) -> Rendered | None:
    """Plans the video and renders the named outputs of all its chunks, the longest first; None for no outputs.

    "encodes" stands for all encodes but the `copied` ones.
    """
    if not outputs:
        return None
    original, params = original_of(work), work.pipeline
    with_scratch = services.store.local(work.tenant, original.sha256, services.scratch)
    async with with_scratch as path:
        plan = await services.pools.run(
            "light", plan_video, path, work.technical, params.video, params.preview, limits=LIMITS, read=[path],
            priority=PLANNING,
        )  # fmt: skip
        if ENCODES in outputs:
            outputs = {*outputs, *(encode.name for encode in plan.encodes)} - {ENCODES, *copied}
        plan = plan.only(outputs)
        chunks = await beside(*(_chunk(services, work, plan, path, r, sorted(outputs)) for r in plan.chunks))
    return _collected(plan, sorted(outputs), chunks)


def _collected(plan: RenderPlan, outputs: Sequence[str], chunks: list[dict[str, StepResult]]) -> Rendered:
    files = {name: [o.sha256 for chunk in chunks for o in chunk[name].outputs] for name in outputs}
    return Rendered(plan, files, _candidates(chunks, "stills"), _candidates(chunks, "poster"))


def _candidates(chunks: list[dict[str, StepResult]], name: str) -> list[Candidate]:
    return [Candidate(**c) for chunk in chunks if name in chunk for c in chunk[name].values["candidates"]]


def steps_of(work: Work, plan: RenderPlan, outputs: Sequence[str], chunk: Range) -> list[Step]:
    """A step for each output of a chunk; `range` in ticks of the source's clock, `from` the sizes scaled through."""
    preview, segment_s = work.pipeline.preview, work.pipeline.video.segment_s
    small, base = ({"from": plan.scaled_through(size)} for size in (plan.small, plan.base))
    candidates = preview.model_dump(include={"candidate_every_s", "candidate_most"})
    params: dict[str, dict[str, Any]] = {
        "storyboard": small | preview.model_dump(include={"storyboard_every_s", "storyboard_width", "storyboard_most"}),
        "stills": small | candidates | {"still_size": preview.still_size},
        "poster": candidates | base,
        "shots": small,
    }
    for encode in plan.encodes:
        params[encode.name] = {"encode": asdict(encode), "from": _from(plan, encode), "segment_s": segment_s}
    inputs = (original_of(work).sha256,)
    return [
        Step("derive", f"chunk-{name}", VERSION, inputs, {**params[name], "range": list(chunk)}) for name in outputs
    ]


def _from(plan: RenderPlan, encode: Encode) -> list[Size]:
    return [] if encode.hdr else plan.scaled_through(encode.size)


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

    runs = await together(services, work, steps_of(work, plan, outputs, chunk), compute, quiet=True)
    return {name: run.result for name, run in zip(outputs, runs, strict=True)}


def _length(plan: RenderPlan, chunk: Range) -> float:
    """Seconds of a chunk."""
    start = 0.0 if chunk[0] is None else plan.seconds(chunk[0])
    return (plan.duration if chunk[1] is None else plan.seconds(chunk[1])) - start


def _made(name: str, made: ChunkFiles) -> Made:
    values = {"candidates": [asdict(c) for c in made.candidates[name]]} if name in made.candidates else {}
    path = made.files.get(name)
    kinds = {".mp4": "video/mp4", ".jpg": "image/jpeg"}
    files = [File(name, "chunk", path, kinds.get(path.suffix, "application/zip"))] if path else []
    return Made(files, values)
