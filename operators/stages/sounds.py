"""What models hear: where somebody speaks, and what is said, with captions."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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

# what a model hears of speech at once: to find it, and to write it down
PIECE_S, PART_S = 60, 600
# silence that a part has around its speech, as far as there is some
AROUND_S = 0.5


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
        assert track is not None and speech
        said: list[Transcript] = []
        async with services.store.local(work.tenant, track.sha256, scratch) as path:
            for start, samples, part in parts(path, [Speech(*one) for one in speech]):
                said.append(later(await ask(services, model_tasks.on_speech, route, samples, part), start))
        whole = said[0]._replace(segments=tuple(segment for part in said for segment in part.segments))
        return written(whole, digest("transcript", inputs, route.params())[:32], scratch)

    return await model_step(services, work, Task.TRANSCRIPT, "transcript", inputs, compute)


def parts(
    path: Path, speech: Sequence[Speech], seconds: float = PART_S
) -> Iterator[tuple[float, np.ndarray, list[Speech]]]:
    """A 16-bit mono WAV in parts of about so many seconds that begin and end in pauses.

    When each begins (s), its samples, and where in them somebody speaks; what nobody pauses in is cut.
    """
    with wave.open(str(path)) as sound:
        rate, end = sound.getframerate(), sound.getnframes() / sound.getframerate()
        short = [one for each in speech for one in _cut(each, seconds)]
        for first, last in _together(short, seconds):
            before = short[first - 1].end_s if first else 0.0
            after = short[last].start_s if last < len(short) else end
            at = round(max(before, short[first].start_s - AROUND_S) * rate)
            until = round(min(after, short[last - 1].end_s + AROUND_S) * rate)
            sound.setpos(at)
            samples, start = np.frombuffer(sound.readframes(until - at), np.int16), at / rate
            yield start, samples, [Speech(one.start_s - start, one.end_s - start) for one in short[first:last]]


def _cut(speech: Speech, seconds: float) -> Iterator[Speech]:
    start, end = speech
    while end - start > seconds:
        yield Speech(start, start + seconds)
        start += seconds
    yield Speech(start, end)


def _together(speech: Sequence[Speech], seconds: float) -> Iterator[tuple[int, int]]:
    """Which of them make a part: the first, and the one after the last."""
    first = 0
    for place, one in enumerate(speech):
        if one.end_s - speech[first].start_s > seconds:
            yield first, place
            first = place
    if speech:
        yield first, len(speech)


def later(said: Transcript, seconds: float) -> Transcript:
    """The same with all times so much later."""

    def moved(one: Any) -> Any:
        return one._replace(start_s=round(one.start_s + seconds, 3), end_s=round(one.end_s + seconds, 3))

    return said._replace(
        segments=tuple(moved(one._replace(words=tuple(map(moved, one.words)))) for one in said.segments)
    )


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
