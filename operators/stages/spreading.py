"""The chunks of a long video, rendered by other processes: asked for, waited for, and found by their result ids."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from operators.media.chunks import Range
from operators.stages.groups import beside
from operators.stages.ingest import tombstone_key
from operators.stages.services import Services
from operators.stages.steps import Step, find
from schemas import ids
from schemas.asset import StepResult, Work
from schemas.chunks import ChunkTask
from schemas.errors import AssetError
from schemas.ports import Spread

# an answer only wakes: the records are looked at all the same, and where nothing ends for long, nobody renders there
LOOK_S, LATE_S = 30.0, 900.0

Results = dict[str, StepResult]
Here = Callable[[Range], Awaitable[Results]]


@dataclass
class _Pace:
    """When something of the video last ended."""

    late_s: float
    moved: float = field(default_factory=time.monotonic)

    def move(self) -> None:
        self.moved = time.monotonic()

    @property
    def late(self) -> bool:
        return time.monotonic() - self.moved > self.late_s


async def spread(
    services: Services, work: Work, chunks: Sequence[tuple[Range, Sequence[Step]]], here: Here, late_s: float = LATE_S
) -> list[Results]:
    """The results of each chunk by output, those that are missing rendered elsewhere; see `services.spread`.

    Where no chunk of the video ends for `late_s` seconds, what is missing is rendered by `here`: a chunk that is
    rendered twice changes nothing, since the first record stands. Raises what a chunk failed with, and `deleted`.
    """
    elsewhere, pace = services.spread, _Pace(late_s)
    if elsewhere is None:
        raise ValueError("there is nobody elsewhere")
    return await beside(*(_one(services, work, elsewhere, pace, *chunk, here) for chunk in chunks))


async def _one(
    services: Services, work: Work, elsewhere: Spread, pace: _Pace, chunk: Range, steps: Sequence[Step], here: Here
) -> Results:
    found = await recorded(services, work, steps)
    if found is None:
        async with elsewhere.ask(task_of(work, chunk, steps)) as end:
            while found is None and not end.done() and not pace.late:
                await asyncio.wait([end], timeout=min(LOOK_S, pace.late_s))
                found = await _looked(services, work, steps)
            if found is None and end.done():
                end.result()
    pace.move()
    return await here(chunk) if found is None else found


async def _looked(services: Services, work: Work, steps: Sequence[Step]) -> Results | None:
    """The same as `recorded`, while the asset is there: a deleted one is nobody's work any more."""
    if await services.store.get(tombstone_key(work.tenant, work.asset_id)) is not None:
        raise AssetError("deleted")
    return await recorded(services, work, steps)


async def recorded(services: Services, work: Work, steps: Sequence[Step]) -> Results | None:
    """A chunk's results by output if all are there."""
    found: Results = {}
    for step in steps:
        result = await find(services, work.tenant, step)
        if result is None:
            return None
        found[output_of(step)] = result
    return found


def output_of(step: Step) -> str:
    """The output that a chunk's step makes."""
    return step.name.removeprefix("chunk-")


def task_of(work: Work, chunk: Range, steps: Sequence[Step]) -> ChunkTask:
    """The request for a chunk."""
    chunk_id = ids.digest("chunk", [step.result_id(work.tenant) for step in steps])
    outputs = tuple(map(output_of, steps))
    return ChunkTask(call=uuid4().hex, chunk_id=chunk_id, work=work, range=chunk, outputs=outputs)
