"""What models see in an image or in a video's stills: embeddings, labels, the bridge to words, text by OCR."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from operators.stages import model_tasks
from operators.stages.services import Services
from operators.stages.steps import File, Made
from operators.stages.tasks import ask, model_step
from operators.stages.vectors import Moment, write_vectors
from schemas.asset import Output, StepRun, Work
from schemas.routing import Route, Task

LABELS_OF_A_MOMENT = 3


async def embedding(services: Services, work: Work, task: Task, name: str) -> StepRun:
    """Vectors of the stills, one a moment."""
    stills = work.output("stills")

    async def compute(route: Route, scratch: Path) -> Made:
        assert stills is not None
        data = await services.store.read(work.tenant, stills.sha256)
        times, vectors = await ask(services, model_tasks.on_stills, task, route, data, stills.media_type)
        return write_vectors(name, moments_of(stills, times), np.asarray(vectors), route, scratch)

    return await model_step(services, work, task, name, inputs_of(stills), compute)


async def labels(services: Services, work: Work) -> StepRun:
    """ImageNet labels of the whole and of each moment; a label's score is its mean over the stills."""
    stills = work.output("stills")

    async def compute(route: Route, _scratch: Path) -> Made:
        assert stills is not None
        data = await services.store.read(work.tenant, stills.sha256)
        times, found = await ask(services, model_tasks.on_stills, Task.IMAGE_LABELS, route, data, stills.media_type)
        return Made(values={"labels": summed(found), "moments": labelled(moments_of(stills, times), found)})

    return await model_step(services, work, Task.IMAGE_LABELS, "labels", inputs_of(stills), compute)


async def ocr(services: Services, work: Work, pages: Sequence[Output]) -> StepRun:
    """Text in pictures, by page where there are pages."""

    async def compute(route: Route, scratch: Path) -> Made:
        found: list[dict[str, Any]] = []
        for page in pages:
            data = await services.store.read(work.tenant, page.sha256)
            (lines,) = await ask(services, model_tasks.on_pages, route, [data])
            found.append({"page": page.properties.get("page"), "lines": [lines_of(line) for line in lines]})
        text = "\n\n".join("\n".join(x["text"] for x in page["lines"]) for page in found).strip()
        path = scratch / "ocr.txt"
        path.write_text(text + "\n", "utf-8")
        files = [File("ocr", "text", path, "text/plain")] if text else []
        return Made(files, {"pages": found, "characters": len(text)})

    return await model_step(services, work, Task.OCR, "ocr", tuple(p.sha256 for p in pages), compute)


def inputs_of(output: Output | None) -> tuple[str, ...]:
    """A step's inputs from an output that may not be there."""
    return (output.sha256,) if output else ()


def lines_of(line: Any) -> dict[str, Any]:
    """A line of OCR as a JSON value."""
    return {"text": line.text, "confidence": round(line.confidence, 4), "box": [list(map(round, p)) for p in line.box]}


def moments_of(stills: Output, times_ms: Sequence[int]) -> list[Moment]:
    """The stretch of a shot that each still stands for; the whole asset for a picture."""
    if stills.media_type != "application/zip":
        return [Moment()]
    spans = {ms: (start, end) for ms, start, end in stills.properties["spans"]}
    return [Moment(start_s=spans[ms][0], end_s=spans[ms][1]) for ms in times_ms]


def summed(found: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Each label's mean score over the stills, best first."""
    scores: dict[str, float] = defaultdict(float)
    for label in (x for still in found for x in still):
        scores[label.name] += label.probability / len(found)
    best = sorted(scores.items(), key=lambda item: -item[1])[:10]
    return [{"name": name, "score": round(score, 4)} for name, score in best]


def labelled(moments: Sequence[Moment], found: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """The first labels of each moment; neighbours with the same labels are one."""
    rows: list[dict[str, Any]] = []
    for moment, still in zip(moments, found, strict=True):
        names = [label.name for label in still[:LABELS_OF_A_MOMENT]]
        if moment.start_s is None or not names:
            continue
        if rows and rows[-1]["labels"] == names and rows[-1]["end_s"] == moment.start_s:
            rows[-1]["end_s"] = moment.end_s
        else:
            rows.append({"start_s": moment.start_s, "end_s": moment.end_s, "labels": names})
    return rows
