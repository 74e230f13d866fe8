"""Derive and preview of an image: renditions, placeholder and model still from one decode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from operators.media.animation import render_clip
from operators.media.rendition import RenderedImage, render_image
from operators.media.tiff_pages import render_pages
from operators.media.webp import MadeFile
from operators.media.words import read_sidecar
from operators.pools import TaskLimits
from operators.stages.groups import beside
from operators.stages.services import Services
from operators.stages.steps import File, Made, Step, once, together
from operators.stages.validate import original_of
from schemas.asset import Output, StepRun, Work
from schemas.errors import AssetError

VERSION = "2"
LIMITS = TaskLimits(wall_s=300, cpu_s=600)
CLIP_LIMITS = TaskLimits(wall_s=1800, cpu_s=1800)
WANTED = {"renditions": "renditions", "wide-gamut": "wide", "placeholder": "thumbhash", "stills": "still"}


async def run(services: Services, work: Work) -> list[StepRun]:
    """The image's steps. Raises corrupt_image, truncated, too_many_pixels, too_long, decoder_*."""
    picture = work.technical.image if work.technical else None
    making = [_renditions(services, work, bool(picture and picture.wide_gamut))]
    if picture and picture.pages > 1:
        making.append(_pages(services, work))
    if picture and picture.animated:
        making.append(_clip(services, work))
    if found := [output for name, output in work.sidecars if name.lower().endswith(".xmp")]:
        making.append(_sidecar(services, work, found[0]))
    return [run for runs in await beside(*making) for run in runs]


async def _renditions(services: Services, work: Work, wide: bool) -> list[StepRun]:
    original, params = original_of(work), work.pipeline.image
    inputs = (original.sha256,)
    usual = {"widths": params.widths, "quality": params.quality}
    steps = [
        Step("derive", "renditions", VERSION, inputs, usual),
        *([Step("derive", "wide-gamut", VERSION, inputs, {**usual, "quality": params.wide_quality})] if wide else []),
        Step("preview", "placeholder", VERSION, inputs),
        Step("preview", "stills", VERSION, inputs),
    ]

    async def compute(missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        wanted = [WANTED[step.name] for step in missing]
        async with services.store.local(work.tenant, original.sha256, scratch) as path:
            rendered = await services.pools.run(
                "light", render_image, path, scratch, params, wanted, work.pipeline.limits,
                limits=LIMITS, read=[path], scratch=scratch,
            )  # fmt: skip
        return made_of(rendered, scratch)

    return await together(services, work, steps, compute)


async def _pages(services: Services, work: Work) -> list[StepRun]:
    original, params = original_of(work), work.pipeline.image
    about = {"width": max(params.widths), "quality": params.quality, "pages": params.pages}

    async def compute(scratch: Path) -> Made:
        async with services.store.local(work.tenant, original.sha256, scratch) as path:
            pages = await services.pools.run(
                "light", render_pages, path, scratch, params, work.pipeline.limits,
                limits=LIMITS, read=[path], scratch=scratch,
            )  # fmt: skip
        return Made([file_of(page, f"page-{page.number:04d}", scratch) for page in pages])

    return [await once(services, work, Step("derive", "pages", VERSION, (original.sha256,), about), compute)]


async def _clip(services: Services, work: Work) -> list[StepRun]:
    original, params = original_of(work), work.pipeline.image.clip
    inputs = (original.sha256,)
    steps = [Step("derive", "clip", VERSION, inputs, {"clip": params}), Step("preview", "poster", VERSION, inputs)]

    async def compute(_missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        async with services.store.local(work.tenant, original.sha256, scratch) as path:
            made = await services.pools.run(
                "heavy", render_clip, path, scratch, params, work.pipeline.limits,
                limits=CLIP_LIMITS, read=[path], scratch=scratch,
            )  # fmt: skip
        clip, poster = (file_of(file, file.role, scratch) for file in made.files)
        about = {"frames": made.frames, "duration": made.duration_ms / 1000, "loops": made.loops}
        return {"clip": Made([clip], about), "poster": Made([poster])}

    return await together(services, work, steps, compute)


async def _sidecar(services: Services, work: Work, sidecar: Output) -> list[StepRun]:
    """The words of an XMP file; one that cannot be read is left out, and the step says so."""

    async def compute(scratch: Path) -> Made:
        async with services.store.local(work.tenant, sidecar.sha256, scratch) as path:
            try:
                words = await services.pools.run("light", read_sidecar, path, limits=LIMITS, read=[path])
            except AssetError as error:
                if error.code != "corrupt_sidecar":
                    raise
                return Made(code=error.code)
        return Made(values={"words": asdict(words)})

    return [await once(services, work, Step("derive", "sidecar", VERSION, (sidecar.sha256,)), compute)]


def made_of(rendered: RenderedImage, scratch: Path) -> dict[str, Made]:
    """What the one decode made, by step."""
    renditions, wide, stills = (
        [f for f in rendered.files if f.role == role] for role in ("rendition", "wide", "still")
    )
    return {
        "renditions": Made([file_of(f, f"rendition-{f.width}", scratch) for f in renditions]),
        "wide-gamut": Made([file_of(f, "wide", scratch) for f in wide]),
        "placeholder": Made(values={"thumbhash": rendered.thumbhash}),
        "stills": Made([file_of(f, "stills", scratch, role="stills") for f in stills]),
    }


def file_of(made: MadeFile, name: str, scratch: Path, role: str = "") -> File:
    """A written picture as a step's file, with its pixels."""
    size = {"width": made.width, "height": made.height} if made.width else {}
    page = {"page": made.number} if made.number else {}
    return File(name, role or made.role, scratch / made.name, made.media_type, size | page)
