"""Enrich: what models see, hear and read in an asset, and the vectors that find it again."""

from __future__ import annotations

from operators.stages import captions, pictures, sounds, texts
from operators.stages.groups import beside
from operators.stages.services import Services
from operators.stages.steps import events_of
from schemas.asset import Kind, Output, StepRun, Work
from schemas.outcome import Outcome
from schemas.routing import Task


async def run(services: Services, work: Work) -> Outcome[Work]:
    """All tasks that apply to the kind. A task without a model, consent or input is skipped, and says so."""
    first = await beside(_seen(services, work), _heard(services, work))
    runs = [run for group in first for run in group]
    work = work.with_steps(*runs)
    runs += await captions.run(services, work)
    work = work.with_steps(*runs)
    moments = await texts.gathered(services, work)
    words = await beside(texts.language(services, work, moments), texts.embedding(services, work, moments))
    return Outcome(work.with_steps(*words), events=events_of(services, work, [*runs, *words]))


async def _seen(services: Services, work: Work) -> list[StepRun]:
    if work.kind in (Kind.IMAGE, Kind.VIDEO):
        seen = [
            pictures.embedding(services, work, Task.IMAGE_EMBEDDING, "image"),
            pictures.embedding(services, work, Task.IMAGE_TEXT_BRIDGE, "bridge"),
            pictures.labels(services, work),
        ]
    else:
        seen = []
    if work.kind in (Kind.IMAGE, Kind.DOCUMENT):
        seen.append(pictures.ocr(services, work, to_read(work)))
    return await beside(*seen)


def to_read(work: Work) -> list[Output]:
    """The pictures whose text only OCR can read: an image's widest rendition, a document's scanned pages."""
    outputs = [o for r in work.steps for o in r.result.outputs]
    if work.kind == Kind.IMAGE:
        renditions = [o for o in outputs if o.role == "rendition"]
        return sorted(renditions, key=lambda o: -o.properties["width"])[:1]
    text = work.step("derive.text")
    scanned = set(text.values.get("scanned", ())) if text else set()
    return [o for o in outputs if o.role == "page" and o.properties["page"] in scanned]


async def _heard(services: Services, work: Work) -> list[StepRun]:
    if work.kind not in (Kind.AUDIO, Kind.VIDEO):
        return []
    voice = await sounds.voice(services, work)
    return [voice, await sounds.transcript(services, work, voice.result)]
