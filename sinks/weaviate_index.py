"""The served vector index, on Weaviate: one collection for assets and one for moments, one tenant an organisation.

A vector space is a named vector, added when it is first put. Guarantee: what `put` returned from was found by a search,
whatever an earlier `put` of the same left behind; putting again changes nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter as By
from weaviate.classes.query import MetadataQuery
from weaviate.exceptions import WeaviateInsertManyAllFailedError

from schemas.errors import AssetError
from schemas.ports import EVERYTHING, Filter, Hit, IndexEntry, VectorIndex
from sinks.vectors import common_dimension, in_order, once_a_moment
from sinks.weaviate_client import INSERT_S, QUERY_S, Link, Policy
from sinks.weaviate_collections import Collections
from sinks.weaviate_rows import HIT, KINDS, Condition, conditions, hit, kind_of, object_of, of_asset, vector_name
from sinks.weaviate_shards import PAUSES, Shards, Tenant
from sinks.weaviate_tenants import Shard
from sinks.words import terms

# objects in a request, and such requests at once
BATCH, AT_ONCE = 200, 4
# what the server returns or deletes at once, at most
MOST = 10_000
PAGE = 1000

T = TypeVar("T")


class WeaviateIndex:
    """A `VectorIndex` on a server, for use from one event loop."""

    def __init__(self, link: Link, policy: Policy, collections: Collections | None = None) -> None:
        self._link, self._policy = link, policy
        self._collections = collections or Collections(link, policy.vectors)
        self._shards = Shards(self._collections, policy)
        self._few = asyncio.Semaphore(AT_ONCE)

    async def put(self, space: str, entries: Sequence[IndexEntry]) -> None:
        """Upserts by id. Raises index_unavailable; ValueError if the vectors' lengths are not the space's."""
        unique = list({entry.id: entry for entry in entries}.values())
        if not unique:
            return
        dimension = common_dimension(space, unique)
        await self._vector(space, dimension)
        await self._shards.look_for_active()
        groups: defaultdict[Shard, list[IndexEntry]] = defaultdict(list)
        for entry in unique:
            groups[kind_of(entry), self._shards.tenant(entry.tenant)].append(entry)
        sent = (
            self._insert(shard, space, dimension, group[start : start + BATCH])
            for shard, group in groups.items()
            for start in range(0, len(group), BATCH)
        )
        for error in filter(None, await asyncio.gather(*sent, return_exceptions=True)):
            raise error

    async def search(
        self, space: str, vector: Sequence[float], *, tenant: str, only: Filter = EVERYTHING, limit: int = 10
    ) -> list[Hit]:
        """Nearest moments by cosine (score 1: same direction), best first; empty for an unknown space."""
        dimension = await self._collections.dimension(space)
        if dimension is None:
            return []
        name, where = self._checked(space, len(vector), dimension), self._where(tenant, only)

        async def nearest(shard: Tenant) -> list[Hit]:
            answer = await shard.query.near_vector(
                list(vector), target_vector=name, filters=where, limit=limit, return_properties=HIT,
                return_metadata=MetadataQuery(distance=True),
            )  # fmt: skip
            return [hit(o.properties, 1.0 - (o.metadata.distance or 0.0)) for o in answer.objects]

        return _best(await self._of_both(tenant, QUERY_S, nearest))[:limit]

    async def words(self, text: str, *, tenant: str, only: Filter = EVERYTHING, limit: int = 10) -> list[Hit]:
        """Moments whose text, title or tags hold the words, by BM25, best first; each moment once."""
        wanted, where = " ".join(terms(text)), self._where(tenant, only)
        if not wanted:
            return []
        most = limit * max(1, len(await self._collections.spaces()))  # a moment has an object in each space at most

        async def matching(shard: Tenant) -> list[Hit]:
            answer = await shard.query.bm25(
                wanted, query_properties=["words"], filters=where, limit=most, return_properties=HIT,
                return_metadata=MetadataQuery(score=True),
            )  # fmt: skip
            return [hit(o.properties, o.metadata.score or 0.0) for o in answer.objects]

        return once_a_moment(_best(await self._of_both(tenant, QUERY_S, matching)))[:limit]

    async def vectors(self, space: str, asset_id: str, tenant: str) -> list[list[float]]:
        """The asset's vectors in a space, [n, dimension], in order of time or page; 10,000 at most of a kind."""
        dimension = await self._collections.dimension(space)
        if dimension is None:
            return []
        name, where = vector_name(space, dimension), of_asset(asset_id, tenant) & By.by_property("space").equal(space)

        async def kept(shard: Tenant) -> list[dict[str, Any]]:
            answer = await shard.query.fetch_objects(
                filters=where, limit=MOST, include_vector=[name], return_properties=["start_s", "page"]
            )
            return [{"id": str(o.uuid), "vector": o.vector[name], **o.properties} for o in answer.objects]

        return [row["vector"] for row in in_order(await self._of_both(tenant, QUERY_S, kept))]

    async def retire(self, asset_id: str, tenant: str, keep: Sequence[str]) -> None:
        """Removes the asset's entries whose ids are not in `keep`, in every space.

        index_unavailable where one of `keep` is not there: a rebuild replaced the collections, so they are put again.
        """
        mine, kept = of_asset(asset_id, tenant), list(dict.fromkeys(keep))
        gone = mine & By.not_(By.by_id().contains_any(kept)) if kept else mine

        async def counted(shard: Tenant) -> list[int]:
            while (await shard.data.delete_many(gone)).matches:
                continue
            left = await shard.aggregate.over_all(total_count=True, filters=mine) if kept else None
            return [left.total_count or 0] if left else []

        there = sum(await self._of_both(tenant, INSERT_S, counted))
        if there < len(kept):
            raise AssetError("index_unavailable", f"{len(kept) - there} entries of {asset_id} are not in the index")

    async def spaces(self) -> list[str]:
        """The spaces that were ever put since the last rebuild, sorted."""
        return sorted(await self._collections.spaces())

    async def entries(self) -> tuple[dict[str, str], dict[str, str]]:
        """All entries of all tenants, id -> asset: those that vectors find, and those that words find, are the same."""
        found: dict[str, str] = {}
        for kind in KINDS:
            for tenant in await self._collections.tenants(kind):
                after = None
                while page := await self._shards.ask(kind, tenant, QUERY_S, partial(_page, after=after)):
                    found.update(page)
                    after = list(page)[-1]
        return found, found

    async def purge(self) -> None:
        """The server compacts by itself."""

    async def rebuild(self) -> WeaviateIndex:
        """An empty index beside this one. A rebuild that another process has not ended fails from now on."""
        await self._collections.prune(newer=True)
        return WeaviateIndex(self._link, self._policy, await self._collections.next())

    async def adopt(self, rebuilt: VectorIndex) -> None:
        """Moves the aliases, one after the other."""
        assert isinstance(rebuilt, WeaviateIndex)
        await self._collections.move(rebuilt._collections)

    async def prune(self) -> None:
        """Removes the collections that were replaced."""
        await self._collections.prune()

    async def close(self) -> None:
        """Ends the connections; the next call makes new ones."""
        await self._link.close()

    async def _insert(self, shard: Shard, space: str, dimension: int, entries: list[IndexEntry]) -> None:
        """Sends entries, and again those that no search finds, which in the end raises.

        The server stores an object before its vector: when the vector fails, is refused or cut off, the object stays,
        and putting the same again changes nothing. Such an object is deleted first.
        """
        for pause in (*PAUSES, None):
            async with self._few:
                name = await self._vector(space, dimension)
                objects = [object_of(entry, space, name) for entry in entries]
                said = await self._shards.ask(*shard, INSERT_S, partial(_sent, objects=objects))
                found = await self._shards.ask(*shard, QUERY_S, partial(_found, entries=entries, vector=name))
            entries = [entry for entry in entries if entry.id not in (found or ())]
            if not entries:
                return
            if pause is None:
                why = "; ".join((said or [])[:3])
                raise AssetError("index_unavailable", f"{len(entries)} entries are not found: {why}")
            await self._shards.heal(*shard, "; ".join(said or ()))
            self._collections.forget_spaces()
            await asyncio.sleep(pause)
            await self._shards.ask(*shard, INSERT_S, partial(_deleted, ids=[entry.id for entry in entries]))

    async def _vector(self, space: str, dimension: int) -> str:
        """The name of the space's vector; a new space is added."""
        held = await self._collections.dimension(space)
        if held is None:
            await self._collections.add_space(space, dimension)
        return self._checked(space, dimension, held or dimension)

    @staticmethod
    def _checked(space: str, dimension: int, held: int) -> str:
        if dimension != held:
            raise ValueError(f"{space} has vectors of {held} dimensions, not {dimension}")
        return vector_name(space, dimension)

    def _where(self, organisation: str, only: Filter) -> Condition | None:
        return conditions(only, organisation if self._shards.shares(organisation) else "")

    async def _of_both(
        self, organisation: str, seconds: float, question: Callable[[Tenant], Awaitable[list[T]]]
    ) -> list[T]:
        """The answers of both collections' tenants; none where the organisation has put nothing."""
        tenant = self._shards.tenant(organisation)
        found = await asyncio.gather(*(self._shards.ask(kind, tenant, seconds, question) for kind in KINDS))
        return [item for items in found for item in items or ()]


def _best(hits: list[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: -hit.score)


async def _sent(shard: Tenant, objects: list[DataObject[Any, None]]) -> list[str]:
    """What the server says against some of the objects."""
    try:
        answer = await shard.data.insert_many(objects)
    except WeaviateInsertManyAllFailedError as error:
        return [str(error)]
    return list(dict.fromkeys(error.message for error in answer.errors.values()))


async def _found(shard: Tenant, entries: list[IndexEntry], vector: str) -> set[str]:
    """The ids of the entries that are found by their vector."""
    mine = By.by_id().contains_any([entry.id for entry in entries])
    answer = await shard.query.near_vector(
        list(entries[0].vector), target_vector=vector, filters=mine, limit=len(entries), return_properties=[]
    )
    return {str(o.uuid) for o in answer.objects}


async def _deleted(shard: Tenant, ids: list[str]) -> None:
    await shard.data.delete_many(By.by_id().contains_any(ids))


async def _page(shard: Tenant, after: str | None) -> dict[str, str]:
    """The next entries in the order of their ids."""
    answer = await shard.query.fetch_objects(limit=PAGE, after=after, return_properties=["asset_id"])
    return {str(o.uuid): str(o.properties["asset_id"]) for o in answer.objects}
