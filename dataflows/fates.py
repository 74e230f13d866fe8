"""What becomes of submissions, by what the pipeline tells of their assets."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress

from deltalake.exceptions import DeltaError
from pydantic import ValidationError

from dataflows import queries
from dataflows.connections import objects_of
from operators.stages.register import current_manifest
from schemas.base import Model
from schemas.errors import CODES, AssetError, State
from schemas.events import IngestEvent, StatusChanged, StatusEvent
from schemas.fold import ENDED, FINAL_STAGE, AssetState, fold, fold_asset
from schemas.settings import Settings

_DELETED = AssetState(state=State.REJECTED, code="deleted", message=CODES["deleted"].sentence)


class Fate(Model):
    """What has become of a submission so far; of a duplicate, `existing` is the state of the asset that exists."""

    state: State = State.PENDING
    existing: State | None = None
    code: str = ""
    message: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will become of it."""
        return (self.existing or self.state) in ENDED

    @property
    def well(self) -> bool:
        """Whether the asset is completed."""
        return (self.existing or self.state) == State.COMPLETED


def fate_of(mine: IngestEvent, heard: Collection[StatusChanged], known: Collection[StatusChanged]) -> Fate:
    """A submission's fate by what was told of its asset: what was `heard` since it was sent, and `known` else.

    Ingest answers under the submission's own id: accepted, refused, or a duplicate. From then on it is the fate of
    the job that ingest has begun since, and of a duplicate that of the asset.
    """
    answer = [event for event in heard if event.job_id == mine.id]
    others = [event for event in heard if event.job_id != mine.id]
    said = {event.state for event in answer}
    if said & ENDED - {State.COMPLETED}:
        return _fate(fold(answer))
    if State.DUPLICATE in said:
        return _fate(_asset([*known, *others]), duplicate=True)
    if mine.data.replay_of:  # the same one may have been sent, and answered, before
        return _fate(_asset([e for e in (*known, *heard) if e.generation >= mine.data.generation]))
    if State.COMPLETED in said:
        begun = {event.job_id for event in others if event.stage == "ingest"}
        return _fate(_asset([event for event in others if event.job_id in begun]))
    return Fate(state=State.PROCESSING if answer else State.PENDING)


def _asset(told: Collection[StatusChanged]) -> AssetState:
    gone = any(event.state == State.DUPLICATE and event.stage != "ingest" for event in told)
    return _DELETED if gone else fold_asset(told)


def _fate(found: AssetState, duplicate: bool = False) -> Fate:
    state, existing = (State.DUPLICATE, found.state) if duplicate else (found.state, None)
    return Fate(state=state, existing=existing, code=found.code, message=found.message)


class Following:
    """Submissions on their way: those still `open`, and the `fates` of all of them, by their events' ids."""

    def __init__(self, settings: Settings, events: Sequence[IngestEvent]) -> None:
        self._settings = settings
        self.open = {event.id: event for event in events}
        self._heard: dict[str, dict[str, StatusChanged]] = {event.data.asset_id: {} for event in events}
        self._known: dict[str, list[StatusChanged]] = defaultdict(list)
        self.fates = {event.id: Fate() for event in events}

    def hear(self, messages: Iterable[tuple[bytes, bytes]]) -> Iterator[StatusChanged]:
        """Takes messages of the status topic, and gives what is news of these assets.

        Raises RuntimeError for what this version cannot read.
        """
        for key, value in messages:
            heard = self._heard.get(key.decode(errors="replace"))
            if heard is None:
                continue
            event = _read(value)
            if event.event_id not in heard:
                heard[event.event_id] = event
                self._settle([event.asset_id])
                yield event

    def look_up(self) -> None:
        """Asks the tables, for what the status topic may not tell: what became of the asset before."""
        assets = {
            event.data.asset_id
            for event in self.open.values()
            if event.data.replay_of or self.fates[event.id].state == State.DUPLICATE
        }
        if assets:
            with suppress(AssetError, DeltaError, OSError):  # a service that is away is asked again
                self._known.update(_told_before(self._settings, assets))
            self._settle(assets)

    def _settle(self, assets: Collection[str]) -> None:
        for mine in [event for event in self.open.values() if event.data.asset_id in assets]:
            asset = mine.data.asset_id
            fate = self.fates[mine.id] = fate_of(mine, self._heard[asset].values(), self._known[asset])
            if fate.ended:
                del self.open[mine.id]


def _read(value: bytes) -> StatusChanged:
    try:
        return StatusEvent.model_validate_json(value).data
    except ValidationError as error:
        raise RuntimeError(f"a status event is not of this version: {error}") from error


def _told_before(settings: Settings, assets: Collection[str]) -> dict[str, list[StatusChanged]]:
    """What the tables have; of an asset that they do not know, what its manifest says."""
    told: dict[str, list[StatusChanged]] = defaultdict(list)
    for event in queries.events(settings, assets):
        told[event.asset_id].append(event)
    for asset in set(assets) - set(told):
        told[asset] += asyncio.run(_by_manifest(settings, asset))
    return told


async def _by_manifest(settings: Settings, asset: str) -> list[StatusChanged]:
    manifest = await current_manifest(objects_of(settings), settings.tenant, asset)
    if manifest is None:
        return []
    about = {"asset_id": asset, "job_id": manifest.job_id, "tenant": manifest.tenant}
    return [StatusChanged.of(stage=FINAL_STAGE, state=State.COMPLETED, **about)]
