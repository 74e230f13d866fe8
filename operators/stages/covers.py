"""Preview of a sound's cover art: its poster and placeholder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from operators.media.cover import Cover, render_cover
from operators.pools import TaskLimits
from operators.stages.images import file_of
from operators.stages.services import Services
from operators.stages.steps import Made, Step, skipped, together
from operators.stages.validate import original_of
from schemas.asset import StepRun, Work
from schemas.errors import CODES, AssetError, State

VERSION = "1"
LIMITS = TaskLimits(wall_s=120, cpu_s=120)


def steps_of(work: Work) -> list[Step]:
    """Poster and placeholder, where the file has cover art."""
    if work.technical is None or not work.technical.cover:
        return []
    inputs, how = (original_of(work).sha256,), {"quality": work.pipeline.image.quality}
    return [Step("preview", "poster", VERSION, inputs, how), Step("preview", "placeholder", VERSION, inputs, how)]


async def run(services: Services, work: Work) -> list[StepRun]:
    """The cover's steps; a cover that cannot be read is skipped."""
    steps = steps_of(work)

    async def compute(_missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        async with services.store.local(work.tenant, original_of(work).sha256, scratch) as path:
            found: Cover = await services.pools.run(
                "light", render_cover, path, scratch, work.pipeline.image.quality, work.pipeline.limits,
                limits=LIMITS, read=[path], scratch=scratch,
            )  # fmt: skip
        poster = file_of(found.file, "poster", scratch, role="poster")
        return {"poster": Made([poster]), "placeholder": Made(values={"thumbhash": found.thumbhash})}

    try:
        return await together(services, work, steps, compute)
    except AssetError as error:
        if CODES[error.code].state is not State.SKIPPED:
            raise
        return [skipped(work, step, error.code) for step in steps]
