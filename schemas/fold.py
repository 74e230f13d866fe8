"""An asset's state: one pure fold over its status events, in whatever order they come."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.base import Model
from schemas.errors import BAD, State
from schemas.events import StatusChanged

FINAL_STAGE = "publish"
PARTS = "chunks"  # a stage whose ends are those of parts of assets
ENDED = BAD | {State.COMPLETED}


def is_end(event: StatusChanged) -> bool:
    """Whether the asset's way ends with this event of a stage."""
    if event.step or event.stage == PARTS:
        return False
    completed = event.stage == FINAL_STAGE and event.state == State.COMPLETED
    return completed or event.state in BAD or event.state == State.DUPLICATE


class AssetState(Model):
    """The state of one job of an asset, with the code and sentence that led to it."""

    state: State = State.PENDING
    code: str = ""
    message: str = ""
    stage: str = ""
    steps: tuple[StatusChanged, ...] = ()


def newest(events: Iterable[StatusChanged]) -> list[StatusChanged]:
    """The last event of each (stage, step), of the last generation only.

    An end stands above all that is not one: a run that a crash undid may have told of more attempts than the one
    that came to the end.
    """
    events = list(events)
    generation = max((e.generation for e in events), default=0)
    last: dict[tuple[str, str], StatusChanged] = {}
    for event in events:
        key = (event.stage, event.step)
        if event.generation == generation and (key not in last or _order(event) > _order(last[key])):
            last[key] = event
    return list(last.values())


def _order(event: StatusChanged) -> tuple[bool, int, int]:
    return event.state not in (State.PENDING, State.PROCESSING), event.attempt, event.sequence


def fold(events: Iterable[StatusChanged]) -> AssetState:
    """The state of one job from all its events."""
    last = newest(events)
    stages = [e for e in last if not e.step]
    steps = tuple(e for e in last if e.step)
    bad = [e for e in stages if e.state in BAD]
    if bad:
        return AssetState(state=bad[0].state, code=bad[0].code, message=bad[0].message, stage=bad[0].stage, steps=steps)
    if any(e.stage == FINAL_STAGE and e.state == State.COMPLETED for e in stages):
        return AssetState(state=State.COMPLETED, stage=FINAL_STAGE, steps=steps)
    if not last:
        return AssetState()
    return AssetState(state=State.PROCESSING, stage=stages[-1].stage if stages else "", steps=steps)


def fold_asset(events: Iterable[StatusChanged]) -> AssetState:
    """The state of an asset: of the job accepted last, or where none was accepted, of the submission refused last."""
    jobs: dict[str, list[StatusChanged]] = {}
    for event in events:
        jobs.setdefault(event.job_id, []).append(event)
    accepted = [job for job in jobs.values() if any(e.stage != "ingest" for e in job)]
    candidates = accepted or list(jobs.values())
    last: list[StatusChanged] = max(candidates, key=lambda job: (job[0].accepted_ms, job[0].job_id), default=[])
    return fold(last)
