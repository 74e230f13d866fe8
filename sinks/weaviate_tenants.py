"""Which tenants a process keeps active: an active one holds file handles of the server, of which there are few."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from schemas import metrics
from schemas.errors import AssetError

AT_ONCE = 100

Shard = tuple[str, str]


class ActiveTenants:
    """At most `most` shards (a collection and a tenant) stay active; the least recently used is deactivated first.

    A shard in use is never deactivated here. Another process may do so: the server activates it again when asked.
    """

    def __init__(self, most: int, deactivate: Callable[[str, list[str]], Awaitable[None]]) -> None:
        self._most, self._deactivate = most, deactivate
        self._shards: OrderedDict[Shard, None] = OrderedDict()
        self._uses: Counter[Shard] = Counter()
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def use(self, shard: Shard) -> AsyncIterator[None]:
        """Holds a shard for a query; those that are too many are deactivated afterwards."""
        self._shards[shard] = None
        self._shards.move_to_end(shard)
        self._uses[shard] += 1
        try:
            yield
        finally:
            self._uses[shard] -= 1
            if not self._uses[shard]:
                del self._uses[shard]
        if len(self._shards) > self._most and not self._lock.locked():
            await self._trim()
        metrics.INDEX_TENANTS.set(len(self._shards))

    def forget(self, shard: Shard) -> None:
        """A shard that does not exist."""
        self._shards.pop(shard, None)

    def found_active(self, shards: Iterable[Shard]) -> None:
        """Shards that others left active count as the least recently used."""
        for shard in shards:
            if shard not in self._shards:
                self._shards[shard] = None
                self._shards.move_to_end(shard, last=False)

    async def _trim(self) -> None:
        async with self._lock:
            while idle := self._too_many():
                try:
                    await self._put_away(idle)
                except AssetError:
                    self.found_active(idle)  # they are tried again after the next query
                    return

    def _too_many(self) -> list[Shard]:
        """The shards to deactivate next, a tenth more than need be, so that it is seldom done."""
        if len(self._shards) <= self._most:
            return []
        count = min(AT_ONCE, len(self._shards) - self._most + self._most // 10)
        idle = [shard for shard in self._shards if shard not in self._uses]
        return idle[:count]

    async def _put_away(self, idle: list[Shard]) -> None:
        by_kind: defaultdict[str, list[str]] = defaultdict(list)
        for kind, tenant in idle:
            del self._shards[kind, tenant]
            by_kind[kind].append(tenant)
        for kind, tenants in by_kind.items():
            await self._deactivate(kind, tenants)
