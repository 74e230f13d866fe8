"""Restores a backup into a place that has no assets.

The backup is read as a whole first, and nothing is written unless all of it is as it was made. What belongs to an asset
that was deleted, here or in the backup, is left out: its records, its rows, the results that follow from it alone, and
the objects that only these name. What is there already stays. Manifests come last: they make assets visible.

A restoration that was killed is taken up again: until its end a record says which backup it is of.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from deltalake.exceptions import DeltaError

from dataflows import ownership, queries
from dataflows.backups import INBOX, RECORDS, About, Backup
from dataflows.connections import channels_of, ensure_buckets, objects_of, table_options, table_uri
from dataflows.copying import (
    FILES_AT_ONCE,
    Types,
    copy_objects,
    copy_records,
    copy_table,
    parts_of,
    rows_of,
    summed,
)
from dataflows.deleting import asset_of
from dataflows.ownership import RESULTS, Claims, inbox_of, records
from dataflows.problems import digest_of
from dataflows.references import Object, Search, digests
from dataflows.tables import ALL_TABLES, opened
from dataflows.tombstones import Tombstones
from operators.stages.publish import bundle_of
from operators.stages.register import manifest_prefix
from operators.stages.steps import result_key
from schemas.asset import ObjectKind
from schemas.errors import AssetError
from schemas.events import PUBLICATION, Publication
from schemas.manifest import Manifest
from schemas.ports import ObjectStore, Stored
from schemas.settings import Settings
from sources.inbox import Inbox, Line

RESTORED = ["what", "in_backup", "deleted", "restored"]
BEGUN = "restoring/backup.json"


class Damaged(RuntimeError):
    """The backup is not whole, so nothing of it was restored."""


@dataclass
class Buried:
    """What is left out: assets that were deleted, and the keys and objects that are theirs alone."""

    tombstones: Tombstones
    keys: set[str] = field(default_factory=set)
    objects: set[Object] = field(default_factory=set)

    def wants(self, key: str) -> bool:
        """Whether a record is restored."""
        return key not in self.keys

    def count(self, kind: str) -> int:
        """How many records of a kind are left out."""
        return sum(key.startswith(f"{kind}/") for key in self.keys)


async def restore(settings: Settings, source: str, dry_run: bool) -> tuple[list[dict[str, Any]], About]:
    """Restores the backup at this address; by kind how much is in it, left out, and restored, and what it is.

    With `dry_run` nothing is written. Raises ValueError for what is no backup, and for a place that has assets or
    another restoration's; Damaged; store_unavailable; OSError or DeltaError.
    """
    backup = Backup.at(settings, source)
    about = await checked(backup)
    if not dry_run:
        await ensure_buckets(settings)
    store = objects_of(settings)
    await _refuse_assets(settings, store, backup)
    buried = await _buried(backup, store)
    restoration = Restoration(settings, store, backup, about, buried)
    return await (restoration.planned() if dry_run else restoration.done()), about


async def checked(backup: Backup) -> About:
    """What is in the backup, once all of it has been read, objects too. Raises Damaged, ValueError."""
    with _said(f"{backup.url}/backup.json cannot be read"):
        about = await backup.about()
    if about is None:
        raise Damaged(f"there is no backup at {backup.url}, or it was not finished: it has no backup.json")
    for name, table in about.tables.items():
        if await backup.sum_of_files(name) != table.files:
            raise Damaged(f"{backup.url}: the files of table {name} are not those that were written")
    for kind, wanted in about.records.items():
        if await summed(backup.store, kind) != wanted:
            raise Damaged(f"{backup.url}: the {kind} are not those that were written")
    if about.objects is not None and (damaged := await _damaged(backup)):
        raise Damaged(f"{backup.url}: {len(damaged)} objects are missing or changed: {', '.join(sorted(damaged)[:5])}")
    return about


@contextmanager
def _said(what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise Damaged(what) from error


async def _damaged(backup: Backup) -> list[str]:
    backup.scratch.mkdir(parents=True, exist_ok=True)
    found = list[str]()
    for part in parts_of(await backup.objects(), FILES_AT_ONCE):
        whole = await asyncio.gather(*(_is_whole(backup, each) for each in part))
        found += [f"{each.tenant}/{each.sha256}" for each, is_whole in zip(part, whole, strict=True) if not is_whole]
    return found


async def _is_whole(backup: Backup, object_: Stored) -> bool:
    try:
        async with backup.shared.local(object_.tenant, object_.sha256, backup.scratch) as path:
            return await asyncio.to_thread(digest_of, path) == (object_.sha256, object_.bytes)
    except AssetError as error:
        if error.code in ("object_missing", "object_damaged"):
            return False
        raise


async def _refuse_assets(settings: Settings, store: ObjectStore, backup: Backup) -> None:
    """Raises ValueError unless the place is without assets, or the restoration of this backup has begun there."""
    begun = await store.get(BEGUN)
    if begun is not None:
        if begun.decode() != backup.url:
            raise ValueError(f"the restoration of {begun.decode()} was begun here and did not end: run that one again")
        return
    filled = [f"table {name}" for name in ALL_TABLES if rows_of(opened(settings, name))]
    filled += ["manifests"] if await store.keys("manifests") else []
    if filled:
        raise ValueError(f"there are assets already ({', '.join(filled)}): restore into a place that has none")


async def _buried(backup: Backup, store: ObjectStore) -> Buried:
    """What of the backup belongs to assets with a tombstone, here or there, and to no other."""
    stones = [await Tombstones.load(each) for each in (store, backup.store)]
    buried = Buried(Tombstones(stones[0].assets | stones[1].assets))
    for kind in RECORDS[1:]:
        parts = ((key, key.removesuffix(".json").split("/")) for key in await backup.store.keys(kind))
        buried.keys |= {key for key, found in parts if buried.tombstones.assets.intersection(found[2:])}
    for tenant in {key.split("/")[1] for key in buried.keys}:
        buried.keys |= await _results(backup, tenant, buried.tombstones.assets)
    dead = set[Object]()
    for part in parts_of(sorted(buried.keys), 100):
        for key, data in zip(part, await asyncio.gather(*map(backup.store.get, part)), strict=True):
            dead |= {(key.split("/")[1], sha256) for sha256 in digests(key.encode() + b" " + (data or b""))}
    search = Search(dead)
    for kind in RECORDS[1:] if dead else ():
        async for key, data in records(backup.store, kind):
            if buried.wants(key):
                search.note(key.encode() + b" " + data)
    buried.objects = dead - search.found
    return buried


async def _results(backup: Backup, tenant: str, gone: set[str]) -> set[str]:
    """The keys of results that belong to deleted assets alone, as `delete` finds them."""
    place = backup.place.model_copy(update={"tenant": tenant})
    mine, others = Claims(), Claims()
    for asset_id, claims in (await ownership.claims(place, backup.store)).items():
        if asset_id in gone:
            mine |= claims
        else:
            others |= claims
    results = await ownership.results_of(backup.store, tenant)
    return {result_key(tenant, result_id) for result_id in ownership.owned(results, mine, others)}


class Restoration:
    """One backup on its way into a place."""

    def __init__(self, settings: Settings, store: ObjectStore, backup: Backup, about: About, buried: Buried) -> None:
        self._settings, self._store, self._backup, self._about = settings, store, backup, about
        self._buried = buried

    async def planned(self) -> list[dict[str, Any]]:
        """What would be restored."""
        rows = [_row(f"table {name}", table.rows, 0, 0) for name, table in self._about.tables.items()]
        for kind in RECORDS:
            rows.append(_row(kind, self._about.records[kind].count, self._buried.count(kind), 0))
        if self._about.objects is not None:
            rows.append(_row("objects", self._about.objects, len(await self._left_out()), 0))
        return rows

    async def done(self) -> list[dict[str, Any]]:
        """Restores: tombstones first, manifests last. What was restored is counted in the place itself."""
        await self._store.create(BEGUN, self._backup.url.encode())
        rows = [await self._records(RECORDS[0])]
        if self._about.objects is not None:
            rows.append(await self._objects())
        rows += [await self._records(kind) for kind in RECORDS[1:-1]]
        await asyncio.to_thread(self._inbox, await self._backup.store.get(INBOX) or b"")
        rows += [await asyncio.to_thread(self._table, name) for name in self._about.tables]
        rows.append(await self._records(RECORDS[-1]))
        rows.append(await self._publications())
        await self._store.delete(BEGUN)
        return rows

    async def _records(self, kind: str) -> dict[str, Any]:
        there = await copy_records(self._backup.store, self._store, kind, self._buried.wants)
        return _row(kind, self._about.records[kind].count, self._buried.count(kind), there.count)

    async def _left_out(self) -> set[Object]:
        listed = {(each.tenant, each.sha256) for each in await self._backup.objects()}
        return listed & self._buried.objects

    async def _objects(self) -> dict[str, Any]:
        left_out = await self._left_out()
        wanted = [each for each in await self._backup.objects() if (each.tenant, each.sha256) not in left_out]
        types = await _types(self._backup.store)
        await copy_objects(self._backup.shared, self._store, wanted, self._backup.scratch, types)
        there = {(each.tenant, each.sha256, each.bytes) for each in await self._store.stored()}
        restored = sum((each.tenant, each.sha256, each.bytes) in there for each in wanted)
        return _row("objects", self._about.objects or 0, len(left_out), restored)

    def _inbox(self, data: bytes) -> None:
        """The log of submissions, less those of deleted assets; it is read again from its beginning."""
        gone, inbox = self._buried.tombstones.assets, Inbox(inbox_of(self._settings))
        lines = [line for line in data.split(b"\n") if line.strip() and asset_of(Line(0, line)) not in gone]
        if lines and not self._settings.events:
            there = set(inbox.holding(set(lines)))
            inbox.append(line for line in lines if line not in there)

    def _table(self, name: str) -> dict[str, Any]:
        copy, left = opened(self._backup.place, name), [0]
        if copy is None:
            raise DeltaError(f"the copy of table {name} is gone")

        def spare(rows: Any) -> Any:
            kept = self._buried.tombstones.spare(rows)
            left[0] += rows.num_rows - kept.num_rows
            return kept

        restored = copy_table(copy, table_uri(self._settings, name), table_options(self._settings), spare)
        return _row(f"table {name}", self._about.tables[name].rows, left[0], restored)

    async def _publications(self) -> dict[str, Any]:
        """What the receipts tell of is published again, where it is gone; without its files it cannot be."""
        channels, wanted, done = channels_of(self._settings), 0, 0
        for row in await asyncio.to_thread(queries.rows, self._settings, "events", columns=["data"], type=PUBLICATION):
            receipt = Publication.model_validate_json(row["data"])
            key = f"{manifest_prefix(receipt.tenant, receipt.asset_id)}{receipt.manifest_version:08d}.json"
            data = await self._store.get(key)
            if receipt.action == "published" and receipt.channel in channels and data:
                wanted += 1
                done += await self._publish(channels[receipt.channel], Manifest.model_validate_json(data))
        return _row("publications", wanted, 0, done)

    async def _publish(self, channel: Any, manifest: Manifest) -> bool:
        try:
            await channel.publish(bundle_of(manifest), self._store)
        except AssetError as error:
            if error.code not in ("object_missing", "object_damaged"):
                raise
            return False
        return True


async def _types(store: ObjectStore) -> Types:
    """Of what steps have made; the rest are originals."""
    types: Types = {}
    async for _key, data in records(store, RESULTS):
        for output in json.loads(data)["outputs"]:
            types[output["sha256"]] = output["media_type"], ObjectKind.of(output["role"])
    return types


def _row(what: str, in_backup: int, deleted: int, restored: int) -> dict[str, Any]:
    return {"what": what, "in_backup": in_backup, "deleted": deleted, "restored": restored}


def next_steps(settings: Settings, about: About) -> list[str]:
    """The commands that come next, for those who restored."""
    resets = [
        f"asset-pipeline offsets reset {flow} --to {at.isoformat(timespec='milliseconds')}"
        for flow, at in about.since.items()
    ]
    return ["asset-pipeline reindex", *(resets if settings.events else ())]
