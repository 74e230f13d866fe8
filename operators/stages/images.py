"""Derive and preview of an image: renditions, placeholder and model still from one decode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from operators.media.rendition import RenderedImage, render_image
from operators.media.webp import MadeFile
from operators.pools import TaskLimits
from operators.stages.services import Services
from operators.stages.steps import File, Made, Step, together
from operators.stages.validate import original_of
from schemas.asset import StepRun, Work

VERSION = "1"
LIMITS = TaskLimits(wall_s=300, cpu_s=600)
WANTED = {"renditions": "renditions", "placeholder": "thumbhash", "stills": "still"}


async def run(services: Services, work: Work) -> list[StepRun]:
    """The image's steps. Raises corrupt_image, truncated, too_many_pixels, decoder_*."""
    original, params = original_of(work), work.pipeline
    inputs = (original.sha256,)
    steps = [
        Step("derive", "renditions", VERSION, inputs, {"image": params.image}),
        Step("preview", "placeholder", VERSION, inputs),
        Step("preview", "stills", VERSION, inputs),
    ]

    async def compute(missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        wanted = [WANTED[step.name] for step in missing]
        async with services.store.local(work.tenant, original.sha256, scratch) as path:
            rendered = await services.pools.run(
                "light", render_image, path, scratch, params.image, wanted, params.limits,
                limits=LIMITS, read=[path], scratch=scratch,
            )  # fmt: skip
        return made_of(rendered, scratch)

    return await together(services, work, steps, compute)


def made_of(rendered: RenderedImage, scratch: Path) -> dict[str, Made]:
    """What the one decode made, by step."""
    renditions = [f for f in rendered.files if f.role == "rendition"]
    stills = [f for f in rendered.files if f.role == "still"]
    return {
        "renditions": Made([file_of(f, f"rendition-{f.width}", scratch) for f in renditions]),
        "placeholder": Made(values={"thumbhash": rendered.thumbhash}),
        "stills": Made([file_of(f, "stills", scratch, role="stills") for f in stills]),
    }


def file_of(made: MadeFile, name: str, scratch: Path, role: str = "") -> File:
    """A written picture as a step's file, with its pixels."""
    size = {"width": made.width, "height": made.height} if made.width else {}
    page = {"page": made.number} if made.number else {}
    return File(name, role or made.role, scratch / made.name, made.media_type, size | page)
