"""Builds the search index anew, beside the one in use, which nobody notices until the new one takes its place.

What an index holds follows from manifests alone. The build begins with the assets in the lineage tables, then adds
what was registered meanwhile, which the store's manifests tell, until there is nothing new. Only then is the old index
replaced, and what was registered or deleted just before is made up for. An asset whose entries were put into the old
index, but whose manifest came after that, is put again by its own register stage (`VectorIndex.retire`).

A killed rebuild changes nothing; run it again. The embedded index is rebuilt while no flow runs.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any

from dataflows import queries
from dataflows.connections import objects_of, opened_index
from dataflows.running import alone
from dataflows.tombstones import Tombstones
from operators.stages.register import entries_of, manifest_prefix, vectors_of
from schemas.errors import AssetError, State
from schemas.manifest import Manifest
from schemas.ports import IndexEntry, ObjectStore, VectorIndex
from schemas.settings import Settings

REINDEXED = ["assets", "entries", "rounds", "left_out"]
READ_AT_ONCE, ENTRIES_AT_ONCE = 16, 2000

Asset = tuple[str, str]


async def reindex(settings: Settings) -> dict[str, Any]:
    """Rebuilds the index of all tenants, and counts what is in it; `left_out` has assets whose vectors are gone.

    Raises index_unavailable, store_unavailable; Busy where a flow runs on the embedded index.
    """
    with _exclusive(settings):
        async with opened_index(settings) as index:
            build = Build(objects_of(settings), await index.rebuild())
            await build.add(await asyncio.to_thread(_in_tables, settings))
            while await build.catch_up():
                continue
            await index.adopt(build.index)
            while await build.catch_up():
                continue
            await index.prune()
    return build.counts()


def _exclusive(settings: Settings) -> AbstractContextManager[None]:
    return nullcontext() if settings.index else alone(settings.below())


def _in_tables(settings: Settings) -> dict[Asset, int]:
    """The newest version of each completed asset, from the lineage tables."""
    rows = queries.last_rows(queries.rows(settings, "assets")).values()
    return {(r["tenant"], r["asset_id"]): r["manifest_version"] for r in rows if r["state"] == State.COMPLETED}


class Build:
    """What a new index holds so far: the version of each asset, 0 for one that is gone."""

    def __init__(self, store: ObjectStore, index: VectorIndex) -> None:
        self._store, self.index = store, index
        self._versions: dict[Asset, int] = {}
        self._entries: Counter[Asset] = Counter()
        self._left_out: set[str] = set()
        self._rounds = 0

    def counts(self) -> dict[str, Any]:
        """What was done."""
        assets = sum(version > 0 for version in self._versions.values())
        left_out = sorted(self._left_out)
        return {"assets": assets, "entries": self._entries.total(), "rounds": self._rounds, "left_out": left_out}

    async def catch_up(self) -> int:
        """Adds what manifests say that the build does not hold, and removes what was deleted; how much that was."""
        self._rounds += 1
        standing = _newest(await self._store.keys("manifests"))
        buried = (await Tombstones.load(self._store)).assets
        gone = [asset for asset, version in self._versions.items() if version and asset[1] in buried]
        for asset in gone:
            await self._remove(asset)
        new = {a: v for a, v in standing.items() if self._versions.get(a) != v and a[1] not in buried}
        await self.add(new)
        return len(gone) + len(new)

    async def add(self, wanted: dict[Asset, int]) -> None:
        """Puts the entries of these versions of assets in the place of any other version's."""
        assets = sorted(wanted.items())
        for start in range(0, len(assets), READ_AT_ONCE):
            part = assets[start : start + READ_AT_ONCE]
            found = await asyncio.gather(*(self._manifest(*asset, version) for asset, version in part))
            self._versions |= {asset: m.version if m else 0 for (asset, _), m in zip(part, found, strict=True)}
            for batch in _batches([manifest for manifest in found if manifest]):
                await self._put(batch)

    async def _manifest(self, tenant: str, asset_id: str, version: int) -> Manifest | None:
        data = await self._store.get(f"{manifest_prefix(tenant, asset_id)}{version:08d}.json")
        return Manifest.model_validate_json(data) if data else None

    async def _put(self, manifests: Sequence[Manifest]) -> None:
        found = await asyncio.gather(*map(self._entries_of, manifests))
        by_space: defaultdict[str, list[IndexEntry]] = defaultdict(list)
        for space, entries in chain.from_iterable(entries.items() for entries in found):
            by_space[space] += entries
        for space, entries in by_space.items():
            await self.index.put(space, entries)
        for manifest, entries_of_one in zip(manifests, found, strict=True):
            await self._note(manifest, [entry.id for entries in entries_of_one.values() for entry in entries])

    async def _entries_of(self, manifest: Manifest) -> dict[str, list[IndexEntry]]:
        try:
            return await entries_of(self._store, manifest)
        except AssetError as error:
            if error.code != "object_missing":
                raise
            self._left_out.add(manifest.asset_id)  # unless it is being deleted, which the next round finds
            return {}

    async def _note(self, manifest: Manifest, entries: list[str]) -> None:
        asset = manifest.tenant, manifest.asset_id
        if asset in self._entries:
            await self.index.retire(manifest.asset_id, manifest.tenant, entries)
        self._entries[asset] = len(entries)

    async def _remove(self, asset: Asset) -> None:
        tenant, asset_id = asset
        await self.index.retire(asset_id, tenant, keep=())
        self._versions[asset], self._entries[asset] = 0, 0
        self._left_out.discard(asset_id)


def _newest(keys: Sequence[str]) -> dict[Asset, int]:
    """The newest version of each asset that has manifests: keys come in order."""
    parts = (key.removesuffix(".json").split("/") for key in keys)
    return {(tenant, asset_id): int(version) for _, tenant, asset_id, version in parts}


def _batches(manifests: Sequence[Manifest]) -> Iterator[list[Manifest]]:
    """Manifests whose entries fit into memory together."""
    batch: list[Manifest] = []
    entries = 0
    for manifest in manifests:
        count = sum(int(output.properties["rows"]) for output in vectors_of(manifest))
        if batch and entries + count > ENTRIES_AT_ONCE:
            yield batch
            batch, entries = [], 0
        batch.append(manifest)
        entries += count
    if batch:
        yield batch
