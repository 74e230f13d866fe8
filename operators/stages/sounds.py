"""What models hear: where somebody speaks, and what is said, with captions."""

from __future__ import annotations

import json
from pathlib import Path

from operators.models.captions import webvtt
from operators.models.results import Transcript
from operators.stages import model_tasks
from operators.stages.pictures import inputs_of
from operators.stages.services import Services
from operators.stages.steps import File, Made
from operators.stages.tasks import ask, model_step
from schemas.asset import StepResult, StepRun, Work
from schemas.ids import digest
from schemas.routing import Route, Task


async def voice(services: Services, work: Work) -> StepRun:
    """The stretches of speech, in seconds."""
    track = work.output("speech")

    async def compute(route: Route, _scratch: Path) -> Made:
        assert track is not None
        found = await ask(services, model_tasks.on_speech, route, await services.store.read(work.tenant, track.sha256))
        speech = [[round(s.start_s, 3), round(s.end_s, 3)] for s in found]
        return Made(values={"speech": speech, "seconds": round(sum(b - a for a, b in speech), 3)})

    return await model_step(services, work, Task.VOICE_ACTIVITY, "voice", inputs_of(track), compute)


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
