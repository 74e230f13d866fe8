"""Renders a chunk of a video: one decode in a worker process, each of its files recorded by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from operators.media.appeal import Candidate
from operators.media.chunks import Range
from operators.media.ladder import Encode, Size
from operators.media.plan import RenderPlan, plan_video
from operators.stages.groups import beside
from operators.stages.services import Services
from operators.stages.sharing import shared
from operators.stages.spreading import LATE_S, output_of, spread
from operators.stages.steps import File, Made, Step, together
from operators.stages.validate import original_of
from operators.stages.video_tasks import LIMITS, ChunkFiles, render
from schemas.asset import StepResult, StepRun, Work
from schemas.chunks import ChunkTask
from schemas.outcome import Outcome

VERSION = "3"
PLANNING = 10
ENCODES = "encodes"
# a chunk of so many usual ones' length is long, and so many usual ones are the end
_LONG, _TAIL = 2, 6


@dataclass(frozen=True)
class Rendered:
    """All chunks' files in order: digests by output; the candidates for stills, and of each poster file its own."""

    plan: RenderPlan
    files: dict[str, list[str]]
    candidates: list[Candidate]
    posters: list[Candidate]


async def rendered(
    services: Services,
    work: Work,
    outputs: Collection[str],
    copied: Collection[str] = (),
    planned: Callable[[RenderPlan], None] = lambda _plan: None,
) -> Rendered | None:
    """Plans the video and renders the named outputs of all its chunks; None for no outputs.

    "encodes" stands for all encodes but the `copied` ones. A video longer than `spread_s` is rendered by other
    processes, where there are such. `planned` is told the plan before the first chunk is begun.
    """
    if not outputs:
        return None
    async with with_plan(services, work) as (path, whole):
        if ENCODES in outputs:
            outputs = {*outputs, *(encode.name for encode in whole.encodes)} - {ENCODES, *copied}
        plan, names = whole.only(outputs), sorted(outputs)
        planned(plan)
        one = partial(_chunk, services, work, plan, path, names)
        if services.spread is not None and plan.duration > work.pipeline.video.spread_s:
            asked = [(r, steps_of(work, plan, names, r)) for r in plan.chunks]
            chunks = await spread(services, work, asked, one, LATE_S)
        else:
            chunks = await beside(*map(one, plan.chunks))
    return _collected(plan, names, chunks)


async def run(services: Services, task: ChunkTask) -> Outcome[ChunkTask]:
    """A chunk that another process waits for; its work gets the steps that were found or made."""
    async with with_plan(services, task.work) as (path, whole):
        runs = await _runs(services, task.work, whole.only(task.outputs), path, task.outputs, task.range)
    return Outcome(task.model_copy(update={"work": task.work.with_steps(*runs)}))


@asynccontextmanager
async def with_plan(services: Services, work: Work) -> AsyncIterator[tuple[Path, RenderPlan]]:
    """The original as a local file and its plan, shared by all in this process who render it just now."""
    key = services.scratch, work.tenant, original_of(work).sha256, work.pipeline.fingerprint
    async with shared(key, lambda: _planned(services, work)) as held:
        yield held


@asynccontextmanager
async def _planned(services: Services, work: Work) -> AsyncIterator[tuple[Path, RenderPlan]]:
    params = work.pipeline
    services.scratch.mkdir(parents=True, exist_ok=True)
    async with services.store.local(work.tenant, original_of(work).sha256, services.scratch) as path:
        plan = await services.pools.run(
            "light", plan_video, path, work.technical, params.video, params.preview, limits=LIMITS, read=[path],
            priority=PLANNING,
        )  # fmt: skip
        yield path, plan


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
    services: Services, work: Work, plan: RenderPlan, path: Path, outputs: Sequence[str], chunk: Range
) -> dict[str, StepResult]:
    """The results by output; its turn is that of its call, however long its results are looked for."""
    runs = await _runs(services, work, plan, path, outputs, chunk, services.pools.turn("heavy"))
    return {name: run.result for name, run in zip(outputs, runs, strict=True)}


async def _runs(
    services: Services,
    work: Work,
    plan: RenderPlan,
    path: Path,
    outputs: Sequence[str],
    chunk: Range,
    turn: int | None = None,
) -> list[StepRun]:
    """The steps in the order of the outputs; one decode makes those that are missing."""

    async def compute(missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        wanted = [output_of(step) for step in missing]
        made = await services.pools.run(
            "heavy", render, path, scratch, plan.only(wanted), *chunk, limits=LIMITS, read=[path], scratch=scratch,
            priority=_priority(plan, chunk, work.pipeline.video.chunk_s), turn=turn,
        )  # fmt: skip
        return {f"chunk-{name}": _made(name, made) for name in wanted}

    return await together(services, work, steps_of(work, plan, outputs, chunk), compute, quiet=True)


def _priority(plan: RenderPlan, chunk: Range, usual_s: float) -> float:
    """In order, since the playlist grows so; the longest first at the end, where workers are to end together."""
    start = 0.0 if chunk[0] is None else plan.seconds(chunk[0])
    length = (plan.duration if chunk[1] is None else plan.seconds(chunk[1])) - start
    is_usual = length < _LONG * usual_s and start < plan.duration - _TAIL * usual_s
    return (usual_s if is_usual else length) / 3600


def _made(name: str, made: ChunkFiles) -> Made:
    values = {"candidates": [asdict(c) for c in made.candidates[name]]} if name in made.candidates else {}
    path = made.files.get(name)
    kinds = {".mp4": "video/mp4", ".jpg": "image/jpeg"}
    files = [File(name, "chunk", path, kinds.get(path.suffix, "application/zip"))] if path else []
    return Made(files, values)
