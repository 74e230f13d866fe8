"""Our side of the video comparison: what the product does, on real services, a fresh store and a new process pool."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bench.measure import Cost, metered
from bench.x264 import Unfair
from dataflows.runtime import Runtime
from dataflows.submit import events_of, submission_of
from operators.stages import derive, ingest, validate, videos
from operators.stages.services import Services
from schemas.asset import StepRun, Work
from schemas.outcome import Outcome
from schemas.settings import Settings
from schemas.structs import Received, received

# what the rivals make as well; ours makes the map, the waveform and the placeholder besides
FILES = ("mezzanine", "preview", "poster", "storyboard", "stills", "speech")


@dataclass(frozen=True)
class Derived:
    """The cost of derive, the seconds before it (start of the pools; ingest with the gate), and the files by name."""

    cost: Cost
    start_s: float
    ingest_s: float
    integrity_cpu_s: float
    files: dict[str, Path]


def derived(clip: Path, out: Path, remuxed: bool = False) -> Derived:
    """All derivatives of a video, sandbox, object store and result records included.

    Raises Unfair where the clip's own pictures are copied, or with `remuxed` where they are not.
    """
    settings, started = Settings(out=out), time.perf_counter()
    with Runtime(settings, "bench", None) as runtime:
        start_s = time.perf_counter() - started
        services, loop = runtime.services, runtime.loop
        event = next(events_of(settings, [str(clip)], submission_of(settings)))
        work = loop.run(_admitted(services, received(event.model_dump_json().encode()), remuxed))
        ingest_s = time.perf_counter() - started - start_s
        with metered() as cost:
            runs = _item(loop.run(derive.run(services, work))).steps
        with metered() as again:
            loop.run(_checked_again(services, work))
    return Derived(cost, start_s, ingest_s, again.cpu, {name: _path(services, work, runs, name) for name in FILES})


async def _admitted(services: Services, event: Received, remuxed: bool) -> Work:
    work = _item(await validate.run(services, _item(await ingest.run(services, event))))
    if videos.is_remuxed(work) != remuxed:
        raise Unfair(f"the clip's own pictures would {'not ' if remuxed else ''}be copied: nothing to compare")
    return work


def _item(outcome: Outcome[Work]) -> Work:
    assert outcome.item is not None
    return outcome.item


async def _checked_again(services: Services, work: Work) -> None:
    """The integrity check by itself, under another tenant: what the rivals leave out."""
    request = work.record.request.model_copy(update={"tenant": "again"})
    other = work.model_copy(update={"record": work.record.model_copy(update={"request": request})})
    async with services.store.local(work.tenant, validate.original_of(work).sha256, services.scratch) as path:
        await services.store.add_file(other.tenant, path, validate.original_of(work).media_type)
    await validate.integrity(services, other)


def _path(services: Services, work: Work, runs: tuple[StepRun, ...], name: str) -> Path:
    found = next(o for r in runs for o in r.result.outputs if o.name == name and o.role != "part")
    return Path(unquote(urlsplit(services.store.url(work.tenant, found.sha256)).path))
