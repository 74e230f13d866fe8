"""The collections of the served index, behind two aliases, so that a rebuild replaces them without anybody noticing.

`Assets` and `Moments` are aliases of `Assets_1` and `Moments_1`; a rebuild makes `Assets_2` and `Moments_2`, and moves
the aliases. Everything here may be done by several processes at once.
"""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

from weaviate.collections import CollectionAsync
from weaviate.exceptions import UnexpectedStatusCodeError

from schemas.errors import AssetError
from sinks.weaviate_client import SCHEMA_S, Link, VectorIndexType, answered_within
from sinks.weaviate_rows import ASSETS, KINDS, collection_config, spaces_of, vector_config, vector_name

TRIES = 8


class Collections:
    """The two collections in use, or those of one generation. For use from one event loop."""

    def __init__(self, link: Link, vectors: VectorIndexType, generation: int | None = None) -> None:
        self.link, self._vectors, self._generation = link, vectors, generation
        self._spaces: dict[str, int] = {}
        self._ready, self._lock = generation is not None, asyncio.Lock()

    async def of(self, kind: str, tenant: str = "") -> CollectionAsync[Any, Any]:
        """A collection, or a tenant of it, by its alias."""
        client = await self.link.client()
        if not self._ready:
            async with self._lock:
                await self._ensure()
        name = self._alias(kind) if self._generation is None else self._name(kind, self._generation)
        found = client.collections.use(name)
        return found.with_tenant(tenant) if tenant else found

    async def spaces(self) -> dict[str, int]:
        """The dimension of each vector space, as the server says now."""
        by_kind = []
        for kind in KINDS:
            collection = await self.of(kind)
            async with answered_within(SCHEMA_S):
                by_kind.append(spaces_of((await collection.config.get()).vector_config or ()))
        assets, moments = by_kind
        self._spaces = {space: dimension for space, dimension in assets.items() if space in moments}
        return self._spaces

    async def dimension(self, space: str) -> int | None:
        """The dimension of a vector space; None if there is no such space. It never changes, and is asked for once."""
        return self._spaces.get(space) or (await self.spaces()).get(space)

    async def add_space(self, space: str, dimension: int) -> None:
        """Adds a vector space. The server refuses a change by one who did not know another's, who then looks again."""
        for kind in KINDS:
            for attempt in range(TRIES):
                try:
                    await self._add_vector(kind, vector_name(space, dimension))
                    break
                except AssetError:
                    if attempt == TRIES - 1:
                        raise
                    await asyncio.sleep(random.uniform(0, 0.05 * 2**attempt))

    async def _add_vector(self, kind: str, name: str) -> None:
        collection = await self._concrete(kind)
        async with answered_within(SCHEMA_S):
            if name not in ((await collection.config.get()).vector_config or ()):
                await collection.config.add_vector(vector_config=vector_config(name, self._vectors))

    def forget_spaces(self) -> None:
        """The server knows a space no more: the collections were replaced."""
        self._spaces = {}

    async def deactivate(self, kind: str, tenants: list[str]) -> None:
        """Puts those tenants away that exist."""
        collection = await self._concrete(kind)
        async with answered_within(SCHEMA_S):
            there = await collection.tenants.get_by_names(tenants)
            if there:
                await collection.tenants.deactivate(list(there))

    async def tenants(self, kind: str, only_active: bool = False) -> list[str]:
        """The collection's tenants."""
        collection = await self._concrete(kind)
        async with answered_within(SCHEMA_S):
            found = await collection.tenants.get()
        return [name for name, tenant in found.items() if not only_active or tenant.activity_status.name == "ACTIVE"]

    async def next(self) -> Collections:
        """New collections with nothing in them."""
        await self.of(ASSETS)
        generation = max((await self._generations()).values()) + 1
        for kind in KINDS:
            await self._create(self._name(kind, generation))
        return Collections(self.link, self._vectors, generation)

    async def move(self, to: Collections) -> None:
        """Moves the aliases."""
        client = await self.link.client()
        for kind in KINDS:
            assert to._generation is not None
            async with answered_within(SCHEMA_S):
                moved = await client.alias.update(
                    alias_name=self._alias(kind), new_target_collection=self._name(kind, to._generation)
                )
            if not moved:
                raise AssetError("index_unavailable", f"the rebuilt {kind} are gone: another rebuild removed them")
        self.forget_spaces()

    async def prune(self, newer: bool = False) -> None:
        """Removes the collections that were replaced; with `newer` also those of rebuilds that did not end."""
        await self.of(ASSETS)
        used = {await self._target(kind) for kind in KINDS}
        found, client = await self._generations(), await self.link.client()
        last = max(generation for name, generation in found.items() if name in used)
        for name, generation in found.items():
            if name not in used and (newer or generation < last):
                async with answered_within(SCHEMA_S):
                    await client.collections.delete(name)

    async def _ensure(self) -> None:
        """Creates what is missing, once in a process."""
        for kind in () if self._ready else KINDS:
            if await self._target(kind) is None:
                await self._create(self._name(kind, 1))
                await self._create_alias(kind, self._name(kind, 1))
        self._ready = True

    async def _create(self, name: str) -> None:
        client = await self.link.client()
        async with answered_within(SCHEMA_S):
            try:
                await client.collections.create(name, **collection_config())
            except UnexpectedStatusCodeError:
                if not await client.collections.exists(name):
                    raise

    async def _create_alias(self, kind: str, name: str) -> None:
        client = await self.link.client()
        async with answered_within(SCHEMA_S):
            try:
                await client.alias.create(alias_name=self._alias(kind), target_collection=name)
            except UnexpectedStatusCodeError:
                if await self._target(kind) is None:
                    raise

    async def _concrete(self, kind: str) -> CollectionAsync[Any, Any]:
        """The collection by its own name: its tenants and vectors are not to be changed by an alias."""
        await self.of(kind)
        name = await self._target(kind) if self._generation is None else self._name(kind, self._generation)
        return (await self.link.client()).collections.use(name or "")

    async def _target(self, kind: str) -> str | None:
        """What the alias points to."""
        client = await self.link.client()
        async with answered_within(SCHEMA_S):
            alias = await client.alias.get(alias_name=self._alias(kind))
        return alias.collection if alias else None

    async def _generations(self) -> dict[str, int]:
        """The generation of each collection that there is."""
        client = await self.link.client()
        async with answered_within(SCHEMA_S):
            names = await client.collections.list_all(simple=True)
        pattern = re.compile(rf"{self.link.prefix}({'|'.join(KINDS)})_(\d+)")
        return {match[0]: int(match[2]) for match in map(pattern.fullmatch, names) if match}

    def _alias(self, kind: str) -> str:
        return f"{self.link.prefix}{kind}"

    def _name(self, kind: str, generation: int) -> str:
        return f"{self._alias(kind)}_{generation}"
