"""Derive of chapters: those that the file has, as WebVTT for players."""

from __future__ import annotations

from pathlib import Path

from operators.media.chapters import chapters_webvtt
from operators.stages.services import Services
from operators.stages.steps import File, Made, Step, once
from operators.stages.validate import original_of
from schemas.asset import StepRun, Work

VERSION = "1"


async def run(services: Services, work: Work) -> list[StepRun]:
    """One step, where the file has chapters."""
    chapters = work.technical.chapters if work.technical else ()
    if not chapters:
        return []

    async def compute(scratch: Path) -> Made:
        path = scratch / "chapters.vtt"
        path.write_text(chapters_webvtt(chapters), "utf-8")
        return Made([File("chapters", "chapters", path, "text/vtt", {"count": len(chapters)})])

    return [await once(services, work, Step("derive", "chapters", VERSION, (original_of(work).sha256,)), compute)]
