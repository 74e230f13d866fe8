"""Derive and preview of a video: its chunks are rendered over the worker processes, then put together.

Each file of a chunk is recorded by itself, so that a crash loses no finished chunk, and a changed parameter makes
only what depends on it: another loudness copies the encoded pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from operators.media.join import join, remux
from operators.media.plan import RenderPlan
from operators.media.probe import web_friendly
from operators.stages import audios, ladders, subtitles
from operators.stages.chunks import ENCODES, Rendered, rendered
from operators.stages.groups import beside
from operators.stages.growth import Growth
from operators.stages.services import Services
from operators.stages.steps import File, Made, Step, find, once, together
from operators.stages.trials import with_ladder
from operators.stages.validate import original_of
from operators.stages.video_tasks import LIMITS, Pictures, assemble
from schemas.asset import Output, StepRun, Work
from schemas.errors import AssetError
from schemas.pipelines import VideoEncode, VideoParams
from schemas.technical import Technical, VideoTrack

VERSION = "2"
PICTURES = "2"
FINISHING = 20


async def run(services: Services, work: Work) -> list[StepRun]:
    """The video's steps. Raises corrupt_media, no_media_stream, decoder_*."""
    work, tried = await with_ladder(services, work)
    needed, copied, growth = await missing(services, work), is_remuxed(work), Growth(services, work)
    sound, texts, made, _ = await beside(
        _sound(services, work, growth),
        subtitles.run(services, work),
        _rendered(services, work, needed, {"mezzanine"} if copied else set(), growth),
        growth.run(),
    )
    tracks = [*sound, *texts]
    packages = [ladders.run(services, work, tracks, made, copied)] if work.pipeline.video.hls else []
    mezzanine, preview, pictures, *hls = await beside(
        _mezzanine(services, work, sound, made),
        _stream(services, work, preview_step(work, sound), "preview", _file(sound, "preview"), made),
        _pictures(services, work, made),
        *packages,
    )
    await growth.finish(preview.result.outputs[0])
    return [*tried, *tracks, mezzanine, preview, *pictures, *hls]


async def _rendered(
    services: Services, work: Work, needed: set[str], copied: set[str], growth: Growth
) -> Rendered | None:
    """The chunks; the playlist that can be played already is told of them."""
    if not (makes := bool(needed & {"preview", ENCODES})):
        growth.plan.set_result(None)
    planned = growth.plan.set_result if makes else lambda _plan: None
    made = await rendered(services, work, needed, copied, planned)
    growth.over.set()
    return made


async def missing(services: Services, work: Work) -> set[str]:
    """The outputs that have to be rendered: those whose last step has no result yet."""
    found = {step.name: await find(services, work.tenant, step) for step in picture_steps(work)}
    needed = {name for name, result in found.items() if result is None}
    if "placeholder" in needed:
        needed = needed - {"placeholder"} | {"poster"}
    if "stills" in needed:
        needed.add("shots")
    sound, all_there = await _found(
        services, work, [*audios.steps_of(work), *audios.track_steps(work)] if has_sound(work) else []
    )
    texts, _ = await _found(services, work, subtitles.steps_of(work))
    last = {"preview": preview_step(work, sound), "mezzanine": mezzanine_step(work, sound)}
    if work.pipeline.video.hls:
        last[ENCODES] = ladders.step_of(work, [*sound, *texts])
    for name, step in last.items():
        if not all_there or await find(services, work.tenant, step) is None:
            needed.add(name)
    return needed - {"mezzanine"} if is_remuxed(work) else needed


async def _found(services: Services, work: Work, steps: Sequence[Step]) -> tuple[list[StepRun], bool]:
    """The steps that have a result, and whether all have."""
    found = [await find(services, work.tenant, step) for step in steps]
    return [StepRun(result=result, cached=True) for result in found if result], None not in found


def technical_of(work: Work) -> tuple[Technical, VideoTrack]:
    """The technical metadata, and the video track in it."""
    if work.technical is None or work.technical.video is None:
        raise AssetError("no_media_stream", "no video track")
    return work.technical, work.technical.video


def has_sound(work: Work) -> bool:
    """Whether the video has an audio track."""
    return bool(technical_of(work)[0].audio)


def is_remuxed(work: Work) -> bool:
    """Whether the source's own pictures serve as the mezzanine."""
    return web_friendly(technical_of(work)[0], work.pipeline.video)


async def _sound(services: Services, work: Work, growth: Growth) -> list[StepRun]:
    sound = await audios.run(services, work) if has_sound(work) else []
    growth.sound.set_result(_file(sound, "preview"))
    return sound


def _file(sound: Sequence[StepRun], name: str) -> Output | None:
    return next((o for r in sound for o in r.result.outputs if o.name == name), None)


def mezzanine_step(work: Work, sound: Sequence[StepRun]) -> Step:
    """The mezzanine depends on the original, the sound it carries, and how its pictures are made."""
    params = work.pipeline.video
    how = _how(params, params.mezzanine)
    if is_remuxed(work):
        how = {"remux": "own sound" if _own_sound(work, sound) else "delivered sound"}
    return Step("derive", "mezzanine", VERSION, _inputs(work, _file(sound, "audio")), how)


def preview_step(work: Work, sound: Sequence[StepRun]) -> Step:
    """The same for the preview stream."""
    params = work.pipeline.video
    return Step("preview", "stream", VERSION, _inputs(work, _file(sound, "preview")), _how(params, params.preview))


def _how(params: VideoParams, encode: VideoEncode) -> dict[str, Any]:
    """What decides an encode's pictures: the larger sizes too, since it is scaled from the next one."""
    heights = {params.mezzanine.height, params.preview.height, *(rung.height for rung in params.ladder)}
    larger = sorted((height for height in heights if height > encode.height), reverse=True)
    return {"encode": encode, "from": larger, "chunk_s": params.chunk_s, "segment_s": params.segment_s}


def _inputs(work: Work, sound: Output | None) -> tuple[str, ...]:
    return (original_of(work).sha256, *((sound.sha256,) if sound else ()))


def _own_sound(work: Work, sound: Sequence[StepRun]) -> bool:
    """Whether the source's sound is at the target already, or there is none."""
    made = next((r.result for r in sound if r.result.step == "audio"), None)
    return made is None or audios.holds(made.values, work.pipeline.audio)


async def _mezzanine(services: Services, work: Work, sound: list[StepRun], made: Rendered | None) -> StepRun:
    audio, step = _file(sound, "audio"), mezzanine_step(work, sound)
    if not is_remuxed(work):
        return await _stream(services, work, step, "mezzanine", audio, made)
    replaced = None if _own_sound(work, sound) else audio
    size = {"width": technical_of(work)[1].width, "height": technical_of(work)[1].height}

    async def compute(scratch: Path) -> Made:
        out = scratch / "mezzanine.mp4"
        async with AsyncExitStack() as stack:
            source, *sounds = await _local(services, work, stack, scratch, [original_of(work).sha256, *_shas(replaced)])
            await services.pools.run(
                "heavy", remux, source, out, *sounds, limits=LIMITS, read=[source, *sounds], scratch=scratch,
                priority=FINISHING,
            )  # fmt: skip
        return Made([File("mezzanine", "mezzanine", out, "video/mp4", size)], code="remuxed")

    return await once(services, work, step, compute)


async def _stream(
    services: Services, work: Work, step: Step, name: str, sound: Output | None, made: Rendered | None
) -> StepRun:
    """One MP4 of a rendition's chunks and the sound."""

    async def compute(scratch: Path) -> Made:
        plan, files = _of(made, name)
        out = scratch / f"{name}.mp4"
        async with AsyncExitStack() as stack:
            paths = await _local(services, work, stack, scratch, [*files, *_shas(sound)])
            chunks, sounds = paths[: len(files)], paths[len(files) :]
            await services.pools.run(
                "heavy", join, chunks, next(iter(sounds), None), out, plan.origin, limits=LIMITS, read=paths,
                scratch=scratch, priority=FINISHING,
            )  # fmt: skip
        encode = next(e for e in plan.encodes if e.name == name)
        about = {
            "width": encode.width,
            "height": encode.height,
            "duration": round(plan.duration, 3),
            "frames": plan.frames,
        }
        return Made([File(name, name, out, "video/mp4", about)], {"chunks": len(files)})

    return await once(services, work, step, compute)


def _of(made: Rendered | None, name: str) -> tuple[RenderPlan, list[str]]:
    if made is None:
        raise AssetError("internal", f"{name} was not planned to be rendered")
    return made.plan, made.files[name]


def _shas(output: Output | None) -> list[str]:
    return [output.sha256] if output else []


async def _local(
    services: Services, work: Work, stack: AsyncExitStack, scratch: Path, shas: Sequence[str]
) -> list[Path]:
    return [await stack.enter_async_context(services.store.local(work.tenant, sha, scratch)) for sha in shas]


def picture_steps(work: Work) -> list[Step]:
    """Poster, placeholder, storyboard and stills."""
    inputs, params = (original_of(work).sha256,), work.pipeline.preview
    board = params.model_dump(
        include={"storyboard_every_s", "storyboard_width", "storyboard_columns", "storyboard_most"}
    )
    candidates = params.model_dump(include={"candidate_every_s", "candidate_most"})
    stills = params.model_dump(include={"still_every_s", "still_size", "still_most"})
    return [
        Step("preview", "poster", PICTURES, inputs, candidates),
        Step("preview", "placeholder", PICTURES, inputs, candidates),
        Step("preview", "storyboard", PICTURES, inputs, board),
        Step("preview", "stills", PICTURES, inputs, candidates | stills),
    ]


async def _pictures(services: Services, work: Work, made: Rendered | None) -> list[StepRun]:
    async def compute(wanted: Sequence[Step], scratch: Path) -> dict[str, Made]:
        names = {"poster" if step.name == "placeholder" else step.name for step in wanted}
        names |= {"shots"} if "stills" in names else set()
        plan = _of(made, next(iter(names)))[0]
        assert made is not None
        async with AsyncExitStack() as stack:
            packs = {name: await _local(services, work, stack, scratch, made.files[name]) for name in names}
            pictures = await services.pools.run(
                "light", assemble, scratch, plan, work.pipeline.preview, packs, made.candidates, made.posters,
                limits=LIMITS, read=[path for paths in packs.values() for path in paths], scratch=scratch,
            )  # fmt: skip
        return pictures_made(pictures, plan)

    return await together(services, work, picture_steps(work), compute)


def pictures_made(found: Pictures, plan: RenderPlan) -> dict[str, Made]:
    """The pictures by step."""
    made: dict[str, Made] = {}
    if found.storyboard and found.storyboard_map and plan.storyboard:
        size = {"width": found.sprite_size[0], "height": found.sprite_size[1]}
        sheet = File("storyboard", "storyboard", found.storyboard, "image/jpeg", size)
        cues = File("storyboard-map", "storyboard-map", found.storyboard_map, "text/vtt")
        made["storyboard"] = Made(
            [sheet, cues], {"tiles": len(plan.storyboard.times), "every_s": plan.storyboard.every}
        )
    if found.stills:
        spans = [[still.ms, still.start, still.end] for still in found.kept]
        about = {"spans": spans, "count": len(spans)}
        shots = [[shot.start, shot.end] for shot in found.shots]
        made["stills"] = Made([File("stills", "stills", found.stills, "application/zip", about)], {"shots": shots})
    if found.poster:
        about = {"width": found.poster_size[0], "height": found.poster_size[1], "time_s": round(found.poster_time, 3)}
        made["poster"] = Made([File("poster", "poster", found.poster, "image/jpeg", about)])
        made["placeholder"] = Made(values={"thumbhash": found.thumbhash})
    return made
