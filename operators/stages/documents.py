"""Derive and preview of a document: page pictures, text and poster from one pass over its pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from operators.media.document import RenderedDocument, render_document
from operators.pools import TaskLimits
from operators.stages.images import file_of
from operators.stages.services import Services
from operators.stages.steps import Made, Step, together
from operators.stages.validate import original_of
from schemas.asset import StepRun, Work

VERSION = "1"
LIMITS = TaskLimits(wall_s=900, cpu_s=900)


async def run(services: Services, work: Work) -> list[StepRun]:
    """The document's steps. Raises corrupt_document, encrypted_document, decoder_*."""
    original, params = original_of(work), work.pipeline.document
    inputs = (original.sha256,)
    steps = [
        Step("derive", "pages", VERSION, inputs, {"document": params}),
        Step("derive", "text", VERSION, inputs),
        Step("preview", "poster", VERSION, inputs, {"quality": params.quality}),
        Step("preview", "placeholder", VERSION, inputs),
    ]

    async def compute(_missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        async with services.store.local(work.tenant, original.sha256, scratch) as path:
            rendered = await services.pools.run(
                "light", render_document, path, scratch, params, limits=LIMITS, read=[path], scratch=scratch
            )
        return made_of(rendered, scratch)

    return await together(services, work, steps, compute)


def made_of(rendered: RenderedDocument, scratch: Path) -> dict[str, Made]:
    """What the one pass made, by step."""
    by_role = {role: [f for f in rendered.files if f.role == role] for role in ("page", "text", "text_json", "poster")}
    pages = [file_of(f, f"page-{f.number:04d}", scratch) for f in by_role["page"]]
    text = [file_of(f, "text", scratch) for f in by_role["text"]]
    paged = [file_of(f, "text-pages", scratch, role="text-pages") for f in by_role["text_json"]]
    return {
        "pages": Made(pages),
        "text": Made(text + paged, {"scanned": rendered.scanned, "characters": rendered.characters}),
        "poster": Made([file_of(f, "poster", scratch) for f in by_role["poster"]]),
        "placeholder": Made(values={"thumbhash": rendered.thumbhash}),
    }
