"""Derive and preview of sound: levelled files, speech track and waveform from one pass; channels, further tracks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from operators.media.audio import WAVEFORM_DATA, AudioResult, render_audio
from operators.media.channels import ChannelFile, split_channels
from operators.media.delivery import Made as Delivered
from operators.media.loudness import Loudness
from operators.pools import TaskLimits
from operators.stages import covers
from operators.stages.groups import beside
from operators.stages.services import Services
from operators.stages.steps import File, Made, Step, once, skipped, together
from operators.stages.validate import original_of
from schemas.asset import Kind, StepRun, Work
from schemas.errors import AssetError
from schemas.pipelines import AudioParams
from schemas.technical import AudioTrack

VERSION = "2"
LIMITS = TaskLimits(wall_s=3600, cpu_s=3600)
PRIORITY = 5

# step -> the output's name in the renderer
OUTPUTS = {
    "audio": "audio", "opus": "opus", "flac": "flac", "speech": "speech", "sound": "preview", "waveform": "waveform",
}  # fmt: skip
MEDIA_TYPES = {
    "audio": "audio/mp4", "preview": "audio/mp4", "opus": "audio/ogg", "flac": "audio/flac", "speech": "audio/wav",
    "waveform": "application/json",
}  # fmt: skip
ROLES = {"opus": "audio", "flac": "audio"}
NAMES = {"opus": "audio-opus", "flac": "audio-flac"}


def steps_of(work: Work) -> list[Step]:
    """The steps that share a pass over the first track.

    A video's preview sound is a part of its preview stream, not a file for others.
    """
    inputs, audio = (original_of(work).sha256,), work.pipeline.audio
    delivered = {"loudness": audio.loudness, "rate": audio.sample_rate}
    pixels = work.pipeline.preview.waveform_samples_per_pixel
    further = {"opus": {"bit_rate": audio.opus_bit_rate}, "flac": {}} if _wants_more(work) else {}
    return [
        Step("derive", "audio", VERSION, inputs, {**delivered, "bit_rate": audio.bit_rate}),
        *(Step("derive", n, VERSION, inputs, {**delivered, **how}) for n, how in further.items() if getattr(audio, n)),
        Step("derive", "speech", VERSION, inputs, {"rate": audio.speech_rate}),
        Step("preview", "sound", VERSION, inputs, {**delivered, "bit_rate": audio.preview_bit_rate}),
        Step("preview", "waveform", VERSION, inputs, {"rate": audio.speech_rate, "samples_per_pixel": pixels}),
    ]


def _wants_more(work: Work) -> bool:
    return work.kind == Kind.AUDIO or work.pipeline.audio.of_video


def track_steps(work: Work) -> list[Step]:
    """A step for each further audio track, "audio-2" and so on."""
    inputs, audio = (original_of(work).sha256,), work.pipeline.audio
    how = {"loudness": audio.loudness, "rate": audio.sample_rate, "bit_rate": audio.bit_rate}
    tracks = range(1, min(len(_tracks(work)), 1 + audio.more_tracks))
    return [Step("derive", f"audio-{track + 1}", VERSION, inputs, {**how, "track": track}) for track in tracks]


def channel_steps(work: Work) -> list[Step]:
    """One step, where the first track is surround sound and its channels are wanted."""
    surround = _tracks(work)[0].channels > 2
    wanted = surround and work.pipeline.audio.channels and _wants_more(work)
    return [Step("derive", "channels", VERSION, (original_of(work).sha256,))] if wanted else []


def _tracks(work: Work) -> tuple[AudioTrack, ...]:
    if work.technical is None or not work.technical.audio:
        raise AssetError("no_media_stream", "no audio track")
    return work.technical.audio


async def run(services: Services, work: Work) -> list[StepRun]:
    """The sound's steps, and of an audio asset its cover's. Raises no_media_stream, corrupt_media, decoder_*."""

    async def compute(missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        outputs = [OUTPUTS[step.name] for step in missing]
        return made_of(await _rendered(services, work, scratch, outputs), scratch, work)

    first, cover, *rest = await beside(
        together(services, work, steps_of(work), compute),
        _cover(services, work),
        *(_channels(services, work, step) for step in channel_steps(work)),
        *(_track(services, work, step) for step in track_steps(work)),
    )
    return [*first, *cover, *rest]


async def _cover(services: Services, work: Work) -> list[StepRun]:
    return await covers.run(services, work) if work.kind == Kind.AUDIO else []


async def _rendered(
    services: Services, work: Work, scratch: Path, outputs: Sequence[str], track: int = 0
) -> AudioResult:
    async with services.store.local(work.tenant, original_of(work).sha256, scratch) as path:
        return await services.pools.run(
            "heavy", render_audio, path, scratch, work.pipeline.audio, work.pipeline.preview, outputs, track,
            limits=LIMITS, read=[path], scratch=scratch, priority=PRIORITY,
        )  # fmt: skip


async def _track(services: Services, work: Work, step: Step) -> StepRun:
    """A further track as AAC; one that holds no sound is skipped."""
    track = int(step.params["track"])

    async def compute(scratch: Path) -> Made:
        result = await _rendered(services, work, scratch, ["audio"], track)
        about = {"duration": round(result.seconds, 3), "track": track, "language": _tracks(work)[track].language or ""}
        file = File(step.name, "audio", scratch / dict(result.files)["audio"], MEDIA_TYPES["audio"], about)
        return _delivered(file, result, result.delivered["audio"], work, track)

    try:
        return await once(services, work, step, compute)
    except AssetError as error:
        if error.code != "no_media_stream":
            raise
        return skipped(work, step, "not_applicable")


async def _channels(services: Services, work: Work, step: Step) -> StepRun:
    async def compute(scratch: Path) -> Made:
        async with services.store.local(work.tenant, original_of(work).sha256, scratch) as path:
            found: list[ChannelFile] = await services.pools.run(
                "heavy", split_channels, path, scratch, limits=LIMITS, read=[path], scratch=scratch
            )
        files = [
            File(f"channel-{f.channel}", "channel", scratch / f.name, MEDIA_TYPES["flac"],
                 {"channel": f.channel, "duration": round(f.seconds, 3)})
            for f in found
        ]  # fmt: skip
        return Made(files, {"layout": _tracks(work)[0].layout, "channels": [f.channel for f in found]})

    return await once(services, work, step, compute)


def made_of(result: AudioResult, scratch: Path, work: Work) -> dict[str, Made]:
    """What the pass made, by step."""
    made, files = {}, dict(result.files)
    for step, output in OUTPUTS.items():
        if output not in files:
            continue
        about = {"duration": round(result.seconds, 3)}
        file = File(NAMES.get(output, output), _role(output, work), scratch / files[output], MEDIA_TYPES[output], about)
        heard = result.delivered.get(output)
        made[step] = _delivered(file, result, heard, work) if heard else Made([file])
    if "waveform" in made:
        made["waveform"] = Made(
            [*made["waveform"].files, File("waveform-data", "waveform", scratch / WAVEFORM_DATA, _BINARY)]
        )
    return made


_BINARY = "application/octet-stream"


def _role(output: str, work: Work) -> str:
    return "part" if output == "preview" and work.kind == Kind.VIDEO else ROLES.get(output, output)


def _delivered(file: File, result: AudioResult, made: Delivered, work: Work, track: int = 0) -> Made:
    mixed = {"from": _tracks(work)[track].layout, "to": "stereo"}
    return Made([file], {"loudness": loudness_of(result.before, made), "layout": mixed}, made.code)


def loudness_of(before: Loudness, made: Delivered) -> dict[str, Any]:
    """Measured before, applied, and measured on the decoded file that is delivered (LUFS, LU, dBTP, dB)."""
    return {
        "before": _measured(before),
        "mode": made.level.mode,
        "gain_db": round(made.level.gain, 3),
        "limiter_dbtp": None if made.level.ceiling is None else round(made.level.ceiling, 3),
        "dip_db": round(made.dip, 3),
        "passes": made.passes,
        "after": _measured(made.after),
        "code": made.code,
    }


def _measured(found: Loudness) -> dict[str, float]:
    figures = {"integrated": found.integrated, "lra": found.range, "true_peak": found.true_peak}
    return {key: round(value, 3) for key, value in figures.items()}


def holds(values: dict[str, Any], params: AudioParams) -> bool:
    """Whether the source's own sound is at the target already."""
    before, target = values["loudness"]["before"], params.loudness
    near = abs(before["integrated"] - target.target_lufs) <= target.tolerance_lu
    return near and before["true_peak"] <= target.peak_dbtp
