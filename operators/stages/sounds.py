"""What models hear: where somebody speaks, and what is said, with captions."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from operators.models.captions import webvtt
from operators.models.results import Speech, Transcript
from operators.models.voice import MARGIN_S, PAUSE_S
from operators.stages import model_tasks
from operators.stages.pictures import inputs_of
from operators.stages.services import Services
from operators.stages.steps import File, Made
from operators.stages.tasks import ask, model_step
from schemas.asset import StepResult, StepRun, Work
from schemas.ids import digest
from schemas.routing import Route, Task

# what a model hears of speech at once
PIECE_S = 120


async def voice(services: Services, work: Work) -> StepRun:
    """The stretches of speech, in seconds."""
    track = work.output("speech")

    async def compute(route: Route, scratch: Path) -> Made:
        assert track is not None
        found: list[Speech] = []
        async with services.store.local(work.tenant, track.sha256, scratch) as path:
            for start, samples in pieces(path):
                heard = await ask(services, model_tasks.on_sound, route, samples)
                found = joined(found, [Speech(start + s.start_s, start + s.end_s) for s in heard])
        speech = [[round(s.start_s, 3), round(s.end_s, 3)] for s in found]
        return Made(values={"speech": speech, "seconds": round(sum(b - a for a, b in speech), 3)})

    return await model_step(services, work, Task.VOICE_ACTIVITY, "voice", inputs_of(track), compute)


def pieces(path: Path, seconds: int = PIECE_S) -> Iterator[tuple[float, np.ndarray]]:
    """A 16-bit mono WAV piece by piece, so that an hour needs no more memory: when each starts (s), its samples."""
    with wave.open(str(path)) as sound:
        length, start = seconds * sound.getframerate(), 0.0
        while block := sound.readframes(length):
            yield start, np.frombuffer(block, np.int16)
            start += seconds


def joined(before: Sequence[Speech], after: Sequence[Speech]) -> list[Speech]:
    """Two pieces' speech in order; what goes on over their border is one stretch."""
    if before and after and after[0].start_s - before[-1].end_s < PAUSE_S - 2 * MARGIN_S:
        return [*before[:-1], Speech(before[-1].start_s, after[0].end_s), *after[1:]]
    return [*before, *after]


async def transcript(services: Services, work: Work, voice_: StepResult) -> StepRun:
    """The transcript with word times, and its captions as WebVTT; without speech it does not apply."""
    track, speech = work.output("speech"), voice_.values.get("speech")
    inputs = (*inputs_of(track), digest(speech)) if track and speech else ()

    async def compute(route: Route, scratch: Path) -> Made:
        assert track is not None
        data = await services.store.read(work.tenant, track.sha256)
        said: Transcript = await ask(services, model_tasks.on_speech, route, data, speech)
        return written(said, digest("transcript", inputs, route.params())[:32], scratch)

    return await model_step(services, work, Task.TRANSCRIPT, "transcript", inputs, compute)


def written(said: Transcript, id_: str, scratch: Path) -> Made:
    """The transcript as JSON under its own id, and its captions."""
    segments = [
        {
            "start": s.start_s, "end": s.end_s, "text": s.text,
            "words": [{"start": w.start_s, "end": w.end_s, "word": w.text, "probability": round(w.probability, 4)}
                      for w in s.words],
        }
        for s in said.segments
    ]  # fmt: skip
    spoken, captions = scratch / "transcript.json", scratch / "captions.vtt"
    spoken.write_text(json.dumps({"id": id_, "language": said.language, "segments": segments}, ensure_ascii=False))
    captions.write_text(webvtt(said.segments))
    files = [
        File("transcript", "transcript", spoken, "application/json", {"id": id_, "language": said.language}),
        File("captions", "captions", captions, "text/vtt", {"language": said.language}),
    ]
    return Made(files, {"id": id_, "language": said.language, "characters": len(said.text)})
