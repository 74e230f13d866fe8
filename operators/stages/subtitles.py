"""Derive of a video's subtitles: each text track, and each file that came beside the video, as WebVTT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from operators.media.languages import bcp47
from operators.media.subtitles import BITMAP, FORMATS, TEXT, Written, file_to_webvtt, named, tracks_to_webvtt
from operators.pools import TaskLimits
from operators.stages.groups import beside
from operators.stages.services import Services
from operators.stages.steps import File, Made, Step, once, report, skipped, together
from operators.stages.validate import original_of
from schemas.asset import Output, StepRun, Work
from schemas.errors import AssetError, State
from schemas.technical import SubtitleTrack

VERSION = "1"
LIMITS = TaskLimits(wall_s=600, cpu_s=600)


async def run(services: Services, work: Work) -> list[StepRun]:
    """A step for each track, then for each sidecar; what has no text, or none that can be read, is skipped."""
    made = await beside(
        _tracks(services, work),
        *(_sidecar(services, work, step, name, file) for step, name, file in sidecar_steps(work)),
    )
    return [*made[0], *made[1:]]


def tracks_of(work: Work) -> tuple[SubtitleTrack, ...]:
    """The container's subtitle tracks."""
    return work.technical.subtitles if work.technical else ()


def steps_of(work: Work) -> list[Step]:
    """The steps of all that may have text."""
    return [*track_steps(work), *(step for step, _, _ in sidecar_steps(work))]


def track_steps(work: Work) -> list[Step]:
    """The steps of the container's tracks, in their order."""
    inputs = (original_of(work).sha256,)
    return [
        Step("derive", f"subtitles-{i}", VERSION, inputs, {"track": i, "codec": track.codec})
        for i, track in enumerate(tracks_of(work))
    ]


def sidecar_steps(work: Work) -> list[tuple[Step, str, Output]]:
    """The steps of the subtitles beside the video, numbered on after the tracks; with their names and files."""
    found = [(name, file) for name, file in work.sidecars if PurePosixPath(name).suffix.lower() in FORMATS]
    return [
        (Step("derive", f"subtitles-{i}", VERSION, (file.sha256,), {"format": _format(name), **asdict(named(name))}),
         name, file)
        for i, (name, file) in enumerate(found, len(tracks_of(work)))
    ]  # fmt: skip


def _format(name: str) -> str:
    return FORMATS[PurePosixPath(name).suffix.lower()]


async def _tracks(services: Services, work: Work) -> list[StepRun]:
    steps, tracks = track_steps(work), tracks_of(work)
    text = [step for step, track in zip(steps, tracks, strict=True) if track.codec in TEXT]

    async def compute(missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        places = [int(step.params["track"]) for step in missing]
        async with services.store.local(work.tenant, original_of(work).sha256, scratch) as path:
            written: tuple[Written, ...] = await services.pools.run(
                "light", tracks_to_webvtt, path, scratch, places, limits=LIMITS, read=[path], scratch=scratch
            )
        return {
            step.name: _made(step, one, scratch, _about(tracks[place], place))
            for step, one, place in zip(missing, written, places, strict=True)
        }

    made = {run.result.step: run for run in await together(services, work, text, compute)} if text else {}
    return [made.get(s.name) or _skipped(services, work, s, t) for s, t in zip(steps, tracks, strict=True)]


def _skipped(services: Services, work: Work, step: Step, track: SubtitleTrack) -> StepRun:
    run_ = skipped(work, step, "bitmap_subtitles" if track.codec in BITMAP else "subtitles_unreadable")
    report(services, work, step, State.SKIPPED, run_)
    return run_


def _about(track: SubtitleTrack, place: int) -> dict[str, Any]:
    language = bcp47(track.language)
    title = track.title or language or f"Subtitles {place + 1}"
    return {"title": title, "language": language, "default": track.default, "forced": track.forced}


async def _sidecar(services: Services, work: Work, step: Step, name: str, file: Output) -> StepRun:
    place, found = int(step.name.rpartition("-")[2]), named(name)
    title = found.language or f"Subtitles {place + 1}"
    about = {"title": title, "language": found.language, "default": False, "forced": found.forced}

    async def compute(scratch: Path) -> Made:
        async with services.store.local(work.tenant, file.sha256, scratch) as path:
            try:
                written: Written = await services.pools.run(
                    "light", file_to_webvtt, path, scratch, step.params["format"], place,
                    limits=LIMITS, read=[path], scratch=scratch,
                )  # fmt: skip
            except AssetError as error:
                if error.code != "subtitles_unreadable":
                    raise
                return Made(values={"detail": error.detail}, code=error.code)
        return _made(step, written, scratch, about)

    return await once(services, work, step, compute)


def _made(step: Step, written: Written, scratch: Path, about: dict[str, Any]) -> Made:
    if not written.cues:
        return Made(values={"cues": 0, "damaged": written.damaged}, code="subtitles_unreadable")
    file = File(step.name, "subtitles", scratch / written.file, "text/vtt", about)
    return Made([file], {"cues": written.cues, "damaged": written.damaged})
