"""What becomes of submissions, by what the pipeline tells of their assets."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain

from deltalake.exceptions import DeltaError
from polars.exceptions import PolarsError
from pydantic import ValidationError

from dataflows import queries
from dataflows.connections import objects_of
from operators.stages.ingest import JobClaim
from operators.stages.register import current_manifest
from schemas.base import Model
from schemas.errors import CODES, AssetError, State
from schemas.events import IngestEvent, StatusChanged, StatusEvent
from schemas.fold import ENDED, FINAL_STAGE, AssetState, fold, fold_asset
from schemas.ports import ObjectStore
from schemas.settings import Settings

LOOKED_UP_AT_ONCE = 100
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
    if not duplicate:
        return Fate(state=found.state, code=found.code, message=found.message)
    message = f"The asset is there already: {found.state}. {found.message}".strip()
    return Fate(state=State.DUPLICATE, existing=found.state, code=found.code, message=message)


class Following:
    """Submissions on their way: those still `open`, and the `fates` of all of them, by their events' ids."""

    def __init__(self, settings: Settings, events: Sequence[IngestEvent]) -> None:
        self._settings, self._store = settings, objects_of(settings)
        self.open = {event.id: event for event in events}
        self._heard: dict[str, dict[str, StatusChanged]] = {event.data.asset_id: {} for event in events}
        self._known: dict[str, list[StatusChanged]] = {}
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
        """Asks what became of assets before, which the status topic may not tell; while a service is away, nothing."""
        assets = {
            event.data.asset_id
            for event in self.open.values()
            if event.data.replay_of or self.fates[event.id].state == State.DUPLICATE
        }
        wanted = sorted(assets)
        for start in range(0, len(wanted), LOOKED_UP_AT_ONCE):
            some = wanted[start : start + LOOKED_UP_AT_ONCE]
            with suppress(AssetError):
                self._known |= asyncio.run(told_before(self._settings, self._store, some))
        self._settle(assets)

    def _settle(self, assets: Collection[str]) -> None:
        for mine in [event for event in self.open.values() if event.data.asset_id in assets]:
            asset = mine.data.asset_id
            fate = self.fates[mine.id] = fate_of(mine, self._heard[asset].values(), self._known.get(asset, []))
            if fate.ended:
                del self.open[mine.id]


def _read(value: bytes) -> StatusChanged:
    try:
        return StatusEvent.model_validate_json(value).data
    except ValidationError as error:
        raise RuntimeError(f"a status event is not of this version: {error}") from error


async def told_before(settings: Settings, store: ObjectStore, assets: Sequence[str]) -> dict[str, list[StatusChanged]]:
    """What the tables have of each asset; of one that they do not have, what its manifest says.

    Raises store_unavailable, for the tables too.
    """
    times = await asyncio.gather(*(_accepted(store, settings.tenant, asset) for asset in assets))
    told: dict[str, list[StatusChanged]] = {asset: [] for asset in assets}
    if accepted := list(chain.from_iterable(times)):
        for event in await asyncio.to_thread(_events, settings, assets, accepted):
            told[event.asset_id].append(event)
    for asset in assets:
        told[asset] = told[asset] or await _by_manifest(store, settings.tenant, asset)
    return told


async def _accepted(store: ObjectStore, tenant: str, asset: str) -> list[int]:
    """When ingest accepted the asset's jobs, by which the tables find their rows at once."""
    found = [await store.get(key) for key in await store.keys(f"jobs/{tenant}/{asset}")]
    return [JobClaim.model_validate_json(data).accepted_ms for data in found if data]


def _events(settings: Settings, assets: Sequence[str], accepted: Sequence[int]) -> list[StatusChanged]:
    try:
        return queries.events(settings, assets, accepted=accepted)
    except (DeltaError, PolarsError, OSError) as error:
        raise AssetError("store_unavailable", f"cannot read the tables: {type(error).__name__}") from error


async def _by_manifest(store: ObjectStore, tenant: str, asset: str) -> list[StatusChanged]:
    manifest = await current_manifest(store, tenant, asset)
    if manifest is None:
        return []
    about = {"asset_id": asset, "job_id": manifest.job_id, "tenant": tenant}
    return [StatusChanged.of(stage=FINAL_STAGE, state=State.COMPLETED, **about)]
