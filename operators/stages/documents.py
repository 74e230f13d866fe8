"""Derive and preview of a document: its text by page, a PDF where one can be made, pictures of that PDF's pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from operators.media import documents
from operators.media.document import RenderedDocument, render_document
from operators.media.types import MARKDOWN, PDF, TEXT
from operators.pools import TaskLimits
from operators.stages.images import file_of
from operators.stages.services import Services
from operators.stages.steps import File, Made, Step, once, report, skipped, together
from operators.stages.validate import original_of
from schemas.asset import Output, Ref, StepRun, Work
from schemas.errors import AssetError, State

VERSION = "1"
LIMITS = TaskLimits(wall_s=900, cpu_s=900)


async def run(services: Services, work: Work) -> list[StepRun]:
    """The document's steps. Raises corrupt_document, encrypted_document, office_failed, decoder_*."""
    original = original_of(work)
    if original.media_type == PDF:
        return await _pages(services, work, original, with_text=True)
    text, made = await _text(services, work), await _pdf(services, work)
    pdf = made.result.output("pdf")
    pictures = await (_pages(services, work, pdf) if pdf else _own_picture(services, work, made.result.code))
    return [text, made, *pictures]


async def _pages(services: Services, work: Work, pdf: Ref | Output, with_text: bool = False) -> list[StepRun]:
    """From one pass over a PDF's pages: their pictures, poster and placeholder, and the text if it is the original."""
    params, inputs = work.pipeline.document, (pdf.sha256,)
    drawn = params.model_dump(include={"page_width", "max_pictures", "quality"})
    steps = [
        Step("derive", "pages", VERSION, inputs, {"document": drawn}),
        *([Step("derive", "text", VERSION, inputs)] if with_text else []),
        Step("preview", "poster", VERSION, inputs, {"quality": params.quality}),
        Step("preview", "placeholder", VERSION, inputs),
    ]

    async def compute(_missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        async with services.store.local(work.tenant, pdf.sha256, scratch) as path:
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


async def _text(services: Services, work: Work) -> StepRun:
    """The text by page, slide, sheet or chapter, as the document itself has it."""
    original, limits = original_of(work), work.pipeline.limits
    step = Step("derive", "text", VERSION, (original.sha256,), {"media_type": original.media_type})

    async def compute(scratch: Path) -> Made:
        async with services.store.local(work.tenant, original.sha256, scratch) as path:
            found = await services.pools.run(
                "light", documents.write_read, path, scratch, original.media_type, limits,
                limits=LIMITS, read=[path], scratch=scratch,
            )  # fmt: skip
        plain, paged = found.files
        files = [file_of(plain, "text", scratch), file_of(paged, "text-pages", scratch, role="text-pages")]
        return Made(files, {"characters": found.characters, "hidden": found.hidden, "cut": found.cut})

    return await once(services, work, step, compute)


async def _pdf(services: Services, work: Work) -> StepRun:
    """A PDF rendition: of text drawn here where the standard fonts have its characters, else by LibreOffice."""
    original, media_type = original_of(work), original_of(work).media_type
    inputs, params = (original.sha256,), {"media_type": media_type}
    if media_type in (TEXT, MARKDOWN):
        step = Step("derive", "pdf", VERSION, inputs, {**params, "by": "pdfium"})
        drawn = await once(services, work, step, lambda scratch: _drawn(services, work, scratch))
        if not drawn.result.code:
            return drawn
    step = Step("derive", "pdf", VERSION, inputs, {**params, "by": "libreoffice"})
    if media_type not in documents.OFFICE:
        return _skipped(services, work, step, "not_applicable")
    if services.office is None or not work.pipeline.document.office:
        return _skipped(services, work, step, "no_office")
    return await once(services, work, step, lambda scratch: _converted(services, work, scratch))


async def _drawn(services: Services, work: Work, scratch: Path) -> Made:
    original, limits = original_of(work), work.pipeline.limits
    async with services.store.local(work.tenant, original.sha256, scratch) as path:
        drawn = await services.pools.run(
            "light", documents.write_pdf, path, scratch, original.media_type, limits,
            limits=LIMITS, read=[path], scratch=scratch,
        )  # fmt: skip
    return Made([_pdf_file(scratch / "document.pdf")]) if drawn else Made(code="not_applicable")


async def _converted(services: Services, work: Work, scratch: Path) -> Made:
    """The PDF by LibreOffice, which gets text as UTF-8. Raises office_failed, decoder_timeout."""
    assert services.office is not None
    original, limits = original_of(work), work.pipeline.limits
    async with services.store.local(work.tenant, original.sha256, scratch) as path:
        if original.media_type in (TEXT, MARKDOWN):
            await services.pools.run(
                "light", documents.write_read, path, scratch, original.media_type, limits,
                limits=LIMITS, read=[path], scratch=scratch,
            )  # fmt: skip
            path = scratch / "text.txt"
        made = await services.office.pdf(path, scratch, documents.OFFICE[original.media_type])
    try:
        await services.pools.run("light", documents.quick, made, PDF, limits, limits=LIMITS, read=[made])
    except AssetError as error:
        raise AssetError("office_failed", str(error)) from error
    return Made([_pdf_file(made)])


def _pdf_file(path: Path) -> File:
    return File("pdf", "rendition", path, PDF)


async def _own_picture(services: Services, work: Work, code: str) -> list[StepRun]:
    """No pages can be drawn, for the reason `code`: the picture that the document carries is its poster, if any."""
    original, params = original_of(work), work.pipeline
    inputs, quality = (original.sha256,), {"quality": params.document.quality}
    pages = Step("derive", "pages", VERSION, inputs)
    steps = [
        Step("preview", "poster", VERSION, inputs, {"of": "own picture", "reason": code, **quality}),
        Step("preview", "placeholder", VERSION, inputs, {"of": "own picture", "reason": code}),
    ]

    async def compute(_missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        async with services.store.local(work.tenant, original.sha256, scratch) as path:
            found = await services.pools.run(
                "light", documents.own_picture, path, scratch, original.media_type, params.document.quality,
                params.limits, limits=LIMITS, read=[path], scratch=scratch,
            )  # fmt: skip
        if not found.files:
            return {step.name: Made(code=code) for step in steps}
        poster = Made([file_of(f, "poster", scratch) for f in found.files])
        return {"poster": poster, "placeholder": Made(values={"thumbhash": found.thumbhash})}

    return [_skipped(services, work, pages, code), *await together(services, work, steps, compute)]


def _skipped(services: Services, work: Work, step: Step, code: str) -> StepRun:
    run_ = skipped(work, step, code)
    report(services, work, step, State.SKIPPED, run_)
    return run_
