"""Removes an asset wholly, in steps that a second call takes up again wherever the first one ended.

The tombstone comes first: from then on nothing of the asset comes back. A plan, kept until the end, remembers what
there was to remove. The tables and the index are vacuumed, so that their time travel ends at a deletion.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from dataflows import ownership
from dataflows.connections import channels_of, objects_of, opened_index
from dataflows.intake import decoded, message_of, submission
from dataflows.ownership import Claims
from dataflows.tables import drop_rows
from dataflows.tombstones import Tombstone, Tombstones
from dataflows.usage_windows import forget
from operators.stages.dead_letter import letters
from operators.stages.first import private_prefix
from operators.stages.ingest import tombstone_key
from operators.stages.register import manifest_prefix
from operators.stages.steps import result_key
from schemas.asset import Work
from schemas.base import Model
from schemas.events import DeadLetter
from schemas.manifest import Manifest
from schemas.ports import ObjectStore
from schemas.settings import Settings
from schemas.tables import TABLES
from schemas.topics import DEAD_LETTERS
from sinks.records import OBJECTS
from sources.inbox import Line

DELETED = ["asset_id", "manifests", "results", "objects", "rows", "lines"]
PLANS = "deleting"
REASON = "deleted by its owner"
GRACE_S = 5.0


class Plan(Model):
    """What a deletion has found to remove: the asset's claims, and its lines in the log as (offset, length)."""

    asset_id: str
    roots: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    lines: tuple[tuple[int, int], ...] = ()


async def delete(settings: Settings, asset_id: str) -> dict[str, Any]:
    """Removes the asset from everywhere, and counts what was there.

    Embedded, call it while no flow runs on the folder. With Kafka flows may run: they ask for the tombstone before
    and after each stage, and erase what they made in between. Other assets keep what they share. A second call
    finishes what a crash cut short, and finds nothing otherwise.
    """
    asset_id, store, tenant = str(UUID(asset_id)), objects_of(settings), settings.tenant
    stone = Tombstone(asset_id=asset_id, tenant=tenant, at_ms=time.time_ns() // 1_000_000, reason=REASON)
    await store.create(tombstone_key(tenant, asset_id), stone.model_dump_json().encode())
    await _let_flows_see(settings)
    return await erase(settings, store, asset_id, Claims())


async def erase_made(settings: Settings, store: ObjectStore, work: Work) -> None:
    """Removes what a stage has made for an asset that was deleted meanwhile."""
    fetched = {i for run in work.steps if run.result.stage == "ingest" for i in run.result.inputs}
    original = {work.original.sha256} if work.original else set[str]()
    mine = Claims(original | fetched, {run.result.result_id for run in work.steps})
    await erase(settings.model_copy(update={"tenant": work.tenant}), store, work.asset_id, mine)


async def _let_flows_see(settings: Settings) -> None:
    """Rows and objects that a flow is writing just now are there after this, or will never be."""
    if settings.events:
        await asyncio.sleep(GRACE_S)


async def erase(settings: Settings, store: ObjectStore, asset_id: str, known: Claims) -> dict[str, Any]:
    """Removes all that there is of an asset with a tombstone, `known` to stand on these, and counts it."""
    tenant = settings.tenant
    plan = await planned(settings, store, asset_id, known)
    await withdraw(settings, asset_id)
    manifests = await drop(store, manifest_prefix(tenant, asset_id))
    results, objects = await _content(settings, store, plan)
    await _forgotten(settings, await letters(store, tenant, asset_id))
    for kind in ("dead-letters", "jobs"):
        await drop(store, f"{kind}/{tenant}/{asset_id}")
    await drop(store, private_prefix(tenant, asset_id))
    for key in await store.keys(f"originals/{tenant}"):
        if key.endswith(f"/{asset_id}.json"):
            await store.delete(key)
    await store.delete(f"claims/{tenant}/{asset_id}.json")
    for offset, length in plan.lines:
        blank(ownership.inbox_of(settings), offset, length)
    if not settings.events:
        traces(settings, asset_id)
    rows = await asyncio.to_thread(forget, settings, asset_id, (await Tombstones.load(store)).assets)
    rows += sum([await asyncio.to_thread(drop_rows, settings, name, asset_id) for name in _ROWS])
    await store.delete(plan_key(tenant, asset_id))
    if not settings.events and not settings.objects:
        await store.sweep(0)
    counts = {"manifests": manifests, "results": results, "objects": objects, "rows": rows, "lines": len(plan.lines)}
    return {"asset_id": asset_id, **counts}


# The table that names are looked up in comes last, so that an unfinished deletion can be named.
_ROWS = [name for name in TABLES if name != "assets"] + ["assets"]


def plan_key(tenant: str, asset_id: str) -> str:
    """Where a deletion's plan lies until it is done."""
    return f"{PLANS}/{tenant}/{asset_id}.json"


async def planned(settings: Settings, store: ObjectStore, asset_id: str, known: Claims) -> Plan:
    """The plan that stands: of this call, or of one that did not end."""
    mine = (await ownership.claims(settings, store)).get(asset_id, Claims()) | known
    lines = ownership.lines(ownership.inbox_of(settings))
    objects = set[str]()
    async for _key, data in ownership.records(store, manifest_prefix(settings.tenant, asset_id).rstrip("/")):
        objects |= digests_of(Manifest.model_validate_json(data))
    plan = Plan(
        asset_id=asset_id, roots=tuple(sorted(mine.roots)), results=tuple(sorted(mine.results)),
        objects=tuple(sorted(objects)),
        lines=tuple((line.offset, len(line.value)) for line in lines if asset_of(line) == asset_id),
    )  # fmt: skip
    standing = await store.create(plan_key(settings.tenant, asset_id), plan.model_dump_json().encode())
    return Plan.model_validate_json(standing)


def asset_of(line: Line) -> str:
    """The asset that a line of the log is about."""
    [(asset_id, _)] = decoded(message_of(line), "ingest", submission)
    return asset_id


async def withdraw(settings: Settings, asset_id: str) -> None:
    """Takes the asset out of all channels, and out of the index, whose older versions go too."""
    for channel in channels_of(settings).values():
        await channel.withdraw(asset_id, settings.tenant)
    async with opened_index(settings) as index:
        await index.retire(asset_id, settings.tenant, keep=[])
        await index.purge()


async def _forgotten(settings: Settings, found: Sequence[DeadLetter]) -> None:
    """Has Kafka forget these letters, which it keeps longest. Raises RuntimeError."""

    def told() -> None:
        from sinks.kafka import delivering

        with delivering(settings, [DEAD_LETTERS]) as writer:
            writer.forget(DEAD_LETTERS, [letter.dead_letter_id for letter in found])

    if settings.events and found:
        await asyncio.to_thread(told)


async def drop(store: ObjectStore, prefix: str) -> int:
    """Deletes all records below a prefix; how many there were."""
    keys = await store.keys(prefix)
    for key in keys:
        await store.delete(key)
    return len(keys)


async def _content(settings: Settings, store: ObjectStore, plan: Plan) -> tuple[int, int]:
    """Deletes the results that are the asset's alone, then the objects that no result and no manifest names.

    Of all objects where nothing else runs; else of the asset's own, since others may be on their way to a result.
    """
    others = Claims()
    for asset_id, claims in (await ownership.claims(settings, store)).items():
        if asset_id != plan.asset_id:
            others |= claims
    results = await ownership.results_of(store, settings.tenant)
    gone = ownership.owned(results, Claims(set(plan.roots), set(plan.results)), others)
    for result_id in gone:
        await store.delete(result_key(settings.tenant, result_id))
    mine = {o.sha256 for r in results if r.result_id in gone for o in r.outputs}.union(plan.objects, plan.roots)
    await _let_flows_see(settings)
    named = {o.sha256 for r in await ownership.results_of(store, settings.tenant) for o in r.outputs}
    async for _key, data in ownership.records(store, f"manifests/{settings.tenant}"):
        named |= digests_of(Manifest.model_validate_json(data))
    named |= {each.raw_object for each in await letters(store, settings.tenant) if each.asset_id != plan.asset_id}
    return len(gone), await _sweep_objects(store, settings.tenant, named, mine if settings.events else None)


def digests_of(manifest: Manifest) -> set[str]:
    """Every object that a manifest names."""
    variants = {v.sha256 for v in manifest.variants}
    return {manifest.original.sha256, *variants, *(o.sha256 for step in manifest.steps for o in step.outputs)}


async def _sweep_objects(store: ObjectStore, tenant: str, named: set[str], only: set[str] | None) -> int:
    there = {key.rpartition("/")[2] for key in await store.keys(f"{OBJECTS}/{tenant}")}
    found = (there | {each.sha256 for each in await store.trashed(tenant)}) - named
    found = found if only is None else found & only
    for sha256 in found:
        await store.remove(tenant, sha256)
    return len(found)


def blank(path: Path, offset: int, length: int) -> None:
    """Overwrites a line of the log with spaces, on the disk when this returns: offsets stay as they are."""
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(offset)
        file.write(b" " * length)
        file.flush()
        os.fsync(file.fileno())


def traces(settings: Settings, asset_id: str) -> None:
    """Removes all scratch, which nobody uses while no flow runs, and a report that shows the asset."""
    shutil.rmtree(settings.below("scratch"), ignore_errors=True)
    report = settings.below("report.html")
    if report.exists() and asset_id in report.read_text(errors="replace"):
        report.unlink()


async def is_unfinished(settings: Settings, asset_id: str) -> bool:
    """Whether a deletion of this asset was begun and not finished, so that its rows may be gone already."""
    try:
        key = plan_key(settings.tenant, str(UUID(asset_id)))
    except ValueError:
        return False
    return await objects_of(settings).get(key) is not None
