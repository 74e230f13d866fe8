"""Derive of a video's HLS: the chunks of all its renditions, its sound and subtitles as one adaptive package."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from operators.media.hls import Job, Package, Rung, Text, Track, package
from operators.media.hls_playlists import Label
from operators.media.languages import bcp47
from operators.stages.chunks import Rendered
from operators.stages.services import Services
from operators.stages.steps import File, Made, Step, once
from operators.stages.validate import original_of
from operators.stages.video_tasks import LIMITS
from schemas.asset import Output, StepRun, Work
from schemas.errors import AssetError

VERSION = "1"
PRIORITY = 15
PLAYLIST = "application/vnd.apple.mpegurl"
TYPES = {".mp4": "video/mp4", ".m4a": "audio/mp4"}

Local = Callable[[str], Awaitable[Path]]


def step_of(work: Work, others: Sequence[StepRun]) -> Step:
    """The package depends on the pictures and how they are encoded, on the sound, the subtitles, and their names."""
    files = [*sounds_of(others), *texts_of(others)]
    how = {"video": work.pipeline.video, "labels": [[f.name, *_shown(f).values()] for f in files]}
    return Step("derive", "hls", VERSION, (original_of(work).sha256, *(f.sha256 for f in files)), how)


def _shown(file: Output) -> dict[str, Any]:
    return {key: file.properties.get(key) for key in ("title", "language", "default", "forced")}


def sounds_of(others: Sequence[StepRun]) -> list[Output]:
    """The delivered audio tracks."""
    outputs = [output for run in others for output in run.result.outputs]
    return [output for output in outputs if output.role == "audio" and output.media_type == "audio/mp4"]


def texts_of(others: Sequence[StepRun]) -> list[Output]:
    """The subtitles."""
    return [output for run in others for output in run.result.outputs if output.role == "subtitles"]


async def run(
    services: Services, work: Work, others: Sequence[StepRun], made: Rendered | None, copied: bool
) -> StepRun:
    """The package; where the source's own pictures are the mezzanine (`copied`), they are in it too if they fit."""

    async def compute(scratch: Path) -> Made:
        async with AsyncExitStack() as stack:

            async def local(sha: str) -> Path:
                return await stack.enter_async_context(services.store.local(work.tenant, sha, scratch))

            rungs = await _rungs(work, made, copied, local)
            tracks = await _tracks(work, others, local)
            texts = [Text(o.name, f"{o.name}.vtt", _text_label(o)) for o in texts_of(others)]
            job = _job(work, made, rungs, tracks, texts)
            read = [path for rung in rungs for path in rung.chunks] + [track.path for track in tracks]
            done: Package = await services.pools.run(
                "heavy", package, job, scratch, limits=LIMITS, read=read, scratch=scratch, priority=PRIORITY
            )
        return _made(done, scratch)

    return await once(services, work, step_of(work, others), compute)


async def _rungs(work: Work, made: Rendered | None, copied: bool, local: Local) -> list[Rung]:
    if made is None:
        raise AssetError("internal", "the ladder was not planned to be rendered")
    plan = made.plan
    rungs = [Rung(e.name, tuple([await local(sha) for sha in made.files[e.name]]), plan.origin) for e in plan.encodes]
    if copied:
        rungs.append(Rung("mezzanine", (await local(original_of(work).sha256),), plan.origin, may_go=True))
    return rungs


async def _tracks(work: Work, others: Sequence[StepRun], local: Local) -> list[Track]:
    sounds = sounds_of(others)
    return [Track(sound.name, await local(sound.sha256), _label(work, sound, i)) for i, sound in enumerate(sounds)]


def _job(
    work: Work, made: Rendered | None, rungs: Sequence[Rung], tracks: Sequence[Track], texts: Sequence[Text]
) -> Job:
    assert made is not None
    plan, segment_s = made.plan, work.pipeline.video.segment_s
    return Job(tuple(rungs), tuple(tracks), tuple(texts), plan.rate, plan.duration, segment_s, plan.borders)


def _label(work: Work, output: Output, place: int) -> Label:
    """What the source says of the track that the sound was made of."""
    tracks, number = work.technical.audio if work.technical else (), int(output.properties.get("track", 0))
    title, language = (tracks[number].title, bcp47(tracks[number].language)) if number < len(tracks) else (None, "")
    return Label(title or language or f"Audio {place + 1}", language, default=place == 0)


def _text_label(output: Output) -> Label:
    return Label(**{key: value for key, value in _shown(output).items() if value is not None})


def _made(done: Package, scratch: Path) -> Made:
    """The files under the names by which they refer to each other, as a channel puts them into one folder."""
    playlists = {done.master: "hls-master", **dict.fromkeys(done.playlists, "hls-playlist")}
    files = [File(Path(name).stem, role, scratch / name, PLAYLIST) for name, role in playlists.items()]
    files += [
        File(Path(name).stem, "hls-media", scratch / name, TYPES[Path(name).suffix], {"codecs": codecs})
        for name, codecs in done.media.items()
    ]
    values = {"segments": done.segments, "longest_s": done.longest, "left_out": list(done.left_out)}
    return Made(files, values, "not_aligned" if done.left_out else "")
