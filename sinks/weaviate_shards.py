"""Questions to one tenant of one collection: asked again where it fails, and the tenant kept active meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from typing import Any, TypeVar
from zlib import crc32

from weaviate.collections import CollectionAsync
from weaviate.exceptions import WeaviateBaseError

from sinks.weaviate_client import Policy, answered_within
from sinks.weaviate_collections import Collections
from sinks.weaviate_rows import KINDS
from sinks.weaviate_tenants import ActiveTenants

# seconds to wait before what failed is asked again
PAUSES = (0.1, 0.4, 1.6)
SHARED = 16

_NO_TENANT, _NO_SPACE = "tenant not found", "does not have named vector"
# A tenant that somebody deactivates while another uses it stays in this state until it is deactivated again.
_SHUT = "already shut or dropped"

Tenant = CollectionAsync[Any, Any]
T = TypeVar("T")


class Shards:
    """The tenants of the collections, for use from one event loop."""

    def __init__(self, collections: Collections, policy: Policy) -> None:
        self._collections, self._policy = collections, policy
        self._active = ActiveTenants(policy.active, collections.deactivate)
        self._looked = False

    def tenant(self, organisation: str) -> str:
        """The tenant of an organisation; a name that no organisation has if it shares one."""
        if self.shares(organisation):
            return f"_shared-{crc32(organisation.encode()) % SHARED:02d}"
        return organisation

    def shares(self, organisation: str) -> bool:
        """Whether others are in the same tenant."""
        return any(fnmatchcase(organisation, pattern) for pattern in self._policy.shared)

    async def ask(self, kind: str, tenant: str, seconds: float, question: Callable[[Tenant], Awaitable[T]]) -> T | None:
        """The answer within so many seconds; None where there is no such tenant, or it has no such vector space.

        Raises index_unavailable.
        """
        async with self._active.use((kind, tenant)), answered_within(seconds):
            for pause in (*PAUSES, None):
                try:
                    return await question(await self._collections.of(kind, tenant))
                except WeaviateBaseError as error:
                    if _NO_TENANT in str(error):
                        self._active.forget((kind, tenant))
                        return None
                    if _NO_SPACE in str(error):
                        return None
                    if pause is None:
                        raise
                    await self.heal(kind, tenant, str(error))
                    await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def heal(self, kind: str, tenant: str, said: str) -> None:
        """Does what helps against an error before the question is asked again."""
        if _SHUT in said:
            await self._collections.deactivate(kind, [tenant])

    async def look_for_active(self) -> None:
        """Counts the tenants that earlier processes left active, once, when the first change is made."""
        if self._looked:
            return
        for kind in KINDS:
            found = await self._collections.tenants(kind, only_active=True)
            self._active.found_active((kind, tenant) for tenant in found)
        self._looked = True
