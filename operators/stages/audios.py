"""Derive and preview of sound: levelled AAC, its preview, the speech track and the waveform from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from operators.media.audio import AudioResult, render_audio
from operators.media.loudness import Loudness
from operators.pools import TaskLimits
from operators.stages.services import Services
from operators.stages.steps import File, Made, Step, together
from operators.stages.validate import original_of
from schemas.asset import Kind, StepRun, Work
from schemas.pipelines import AudioParams

VERSION = "1"
LIMITS = TaskLimits(wall_s=3600, cpu_s=3600)
PRIORITY = 5

# step -> the output's name in the renderer
OUTPUTS = {"audio": "audio", "speech": "speech", "sound": "preview", "waveform": "waveform"}
MEDIA_TYPES = {"audio": "audio/mp4", "preview": "audio/mp4", "speech": "audio/wav", "waveform": "application/json"}


def steps_of(work: Work) -> list[Step]:
    """The steps of an asset's sound. A video's preview sound is a part of its preview stream, not a file for others."""
    inputs, audio = (original_of(work).sha256,), work.pipeline.audio
    delivered = {"loudness": audio.loudness, "rate": audio.sample_rate}
    pixels = work.pipeline.preview.waveform_samples_per_pixel
    return [
        Step("derive", "audio", VERSION, inputs, {**delivered, "bit_rate": audio.bit_rate}),
        Step("derive", "speech", VERSION, inputs, {"rate": audio.speech_rate}),
        Step("preview", "sound", VERSION, inputs, {**delivered, "bit_rate": audio.preview_bit_rate}),
        Step("preview", "waveform", VERSION, inputs, {"rate": audio.speech_rate, "samples_per_pixel": pixels}),
    ]


async def run(services: Services, work: Work) -> list[StepRun]:
    """The sound's steps. Raises no_media_stream, corrupt_media, decoder_*."""
    original = original_of(work)

    async def compute(missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        outputs = [OUTPUTS[step.name] for step in missing]
        async with services.store.local(work.tenant, original.sha256, scratch) as path:
            result = await services.pools.run(
                "heavy", render_audio, path, scratch, work.pipeline.audio, work.pipeline.preview, outputs,
                limits=LIMITS, read=[path], scratch=scratch, priority=PRIORITY,
            )  # fmt: skip
        return made_of(result, scratch, work)

    return await together(services, work, steps_of(work), compute)


def made_of(result: AudioResult, scratch: Path, work: Work) -> dict[str, Made]:
    """What the pass made, by step."""
    after = {"audio": result.after, "preview": result.preview_after}
    made = {}
    for step, output in OUTPUTS.items():
        name = dict(result.files).get(output)
        if name is None:
            continue
        heard = after.get(output)
        values = {"loudness": loudness_of(result, heard)} if heard else {}
        file = File(
            output, _role(output, work), scratch / name, MEDIA_TYPES[output], {"duration": round(result.seconds, 3)}
        )
        made[step] = Made([file], values, result.code or "" if heard else "")
    return made


def _role(output: str, work: Work) -> str:
    return "part" if output == "preview" and work.kind == Kind.VIDEO else output


def loudness_of(result: AudioResult, after: Loudness) -> dict[str, Any]:
    """Measured before, applied, and measured on the decoded file that is delivered (LUFS, LU, dBTP, dB)."""
    return {
        "before": _measured(result.before),
        "gain_db": round(result.level.gain, 3),
        "limiter_dbtp": result.level.ceiling,
        "passes": result.passes,
        "after": _measured(after),
        "code": result.code or "",
    }


def _measured(found: Loudness) -> dict[str, float]:
    figures = {"integrated": found.integrated, "lra": found.range, "true_peak": found.true_peak}
    return {key: round(value, 3) for key, value in figures.items()}


def holds(values: dict[str, Any], params: AudioParams) -> bool:
    """Whether the source's own sound is at the target already."""
    before, target = values["loudness"]["before"], params.loudness
    near = abs(before["integrated"] - target.target_lufs) <= target.tolerance_lu
    return near and before["true_peak"] <= target.peak_dbtp
