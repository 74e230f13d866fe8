"""Preview of a template or effect: poster, placeholder and demo clip from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from operators.media.templates import render_template
from operators.pools import TaskLimits
from operators.stages.images import file_of
from operators.stages.services import Services
from operators.stages.steps import Made, Step, together
from operators.stages.validate import original_of
from schemas.asset import StepRun, Work

VERSION = "1"
LIMITS = TaskLimits(wall_s=300, cpu_s=300)


async def run(services: Services, work: Work) -> list[StepRun]:
    """The template's steps. Raises corrupt_template, unsafe_template, corrupt_image, corrupt_media, decoder_*."""
    original, params = original_of(work), work.pipeline
    shared = {"media_type": original.media_type, "template": params.template}
    steps = [Step("preview", name, VERSION, (original.sha256,), shared) for name in ("poster", "placeholder", "clip")]

    async def compute(_missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        async with services.store.local(work.tenant, original.sha256, scratch) as path:
            made = await services.pools.run(
                "light", render_template, path, scratch, original.media_type, params.template, params.limits,
                limits=LIMITS, read=[path], scratch=scratch,
            )  # fmt: skip
        files = {role: [f for f in made.files if f.role == role] for role in ("poster", "preview")}
        clip = [file_of(f, "clip", scratch) for f in files["preview"]]
        return {
            "poster": Made([file_of(f, "poster", scratch) for f in files["poster"]]),
            "placeholder": Made(values={"thumbhash": made.thumbhash}),
            "clip": Made(clip) if clip else Made(code="not_applicable"),
        }

    return await together(services, work, steps, compute)
