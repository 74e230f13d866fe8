"""What an asset says in words, wherever they come from: its language, and vectors of its passages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from operators.stages import model_tasks
from operators.stages.metadata import metadata_of
from operators.stages.services import Services
from operators.stages.steps import Made
from operators.stages.tasks import ask, model_step
from operators.stages.validate import original_of
from operators.stages.vectors import Moment, passages, write_vectors
from schemas.asset import StepRun, Work
from schemas.ids import digest
from schemas.routing import Route, Task

TITLE = "title"


async def gathered(services: Services, work: Work) -> list[Moment]:
    """The passages of an asset: its title and description, pages, text in pictures, speech by its segments."""
    known = metadata_of(work)
    return [
        *passages(" ".join(filter(None, (known.title, known.description, *known.tags))), origin=TITLE),
        *await _pages(services, work),
        *_read(work),
        *await _spoken(services, work),
    ]


async def _pages(services: Services, work: Work) -> list[Moment]:
    paged = work.output("text-pages")
    if paged is None:
        return []
    pages = json.loads(await services.store.read(work.tenant, paged.sha256))["pages"]
    return [passage for page in pages for passage in passages(page["text"], page=page["page"], origin="text")]


def _read(work: Work) -> list[Moment]:
    """Text that OCR found."""
    ocr = work.step("enrich.ocr")
    pages = ocr.values.get("pages", ()) if ocr else ()
    joined = [(page["page"], " ".join(line["text"] for line in page["lines"])) for page in pages]
    return [passage for number, text in joined for passage in passages(text, page=number, origin="ocr")]


async def _spoken(services: Services, work: Work) -> list[Moment]:
    transcript = work.output("transcript")
    if transcript is None:
        return []
    segments = json.loads(await services.store.read(work.tenant, transcript.sha256))["segments"]
    return [p for s in segments for p in passages(s["text"], start_s=s["start"], end_s=s["end"], origin="speech")]


async def language(services: Services, work: Work, moments: list[Moment]) -> StepRun:
    """The language of the words, titles apart, or none with `too_short`."""
    text, original = " ".join(m.text for m in moments if m.origin != TITLE), original_of(work).sha256

    async def compute(route: Route, _scratch: Path) -> Made:
        found = await ask(services, model_tasks.on_text, Task.LANGUAGE, route, text)
        if found is None:
            return Made(code="too_short")
        return Made(values={"language": found.code, "probability": round(found.probability, 4)})

    return await model_step(
        services, work, Task.LANGUAGE, "language", (original, digest(text)) if text else (), compute
    )


async def embedding(services: Services, work: Work, moments: list[Moment]) -> StepRun:
    """Vectors of the passages."""

    async def compute(route: Route, scratch: Path) -> Made:
        texts = [m.text for m in moments]
        vectors = await ask(services, model_tasks.on_text, Task.TEXT_EMBEDDING, route, texts)
        return write_vectors("text-vectors", moments, np.asarray(vectors), route, scratch)

    passages_ = digest([[m.name, m.text] for m in moments])
    inputs = (original_of(work).sha256, passages_) if moments else ()
    return await model_step(services, work, Task.TEXT_EMBEDDING, "text", inputs, compute)
