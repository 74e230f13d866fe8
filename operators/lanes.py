"""Lanes: so many processes at once, so that small work is never behind large work."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from asyncio import Future as AsyncFuture
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class Lane:
    """How many processes at once, and how far they step back for others (0 to 19, see nice(2))."""

    workers: int
    nice: int = 0


class LaneState(NamedTuple):
    """How many processes a lane has, how many of them work, how many tasks wait, and for how long the oldest has."""

    size: int
    busy: int
    waiting: int
    oldest_s: float


@dataclass
class Slots:
    """The free places of a lane; the waiting one of the highest priority gets the next, then of the lowest turn."""

    size: int
    nice: int
    free: int = field(init=False)
    _waiting: list[tuple[float, int, AsyncFuture[None], float]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.free = self.size

    def state(self) -> LaneState:
        """What goes on just now."""
        since = [began for *_, place, began in list(self._waiting) if not place.done()]
        oldest_s = time.monotonic() - min(since) if since else 0.0
        return LaneState(self.size, self.size - self.free, len(since), oldest_s)

    @asynccontextmanager
    async def hold(self, priority: float, turn: int | None = None) -> AsyncIterator[None]:
        """Waits for a place, and has it for as long as the context lasts; `turn` was taken earlier."""
        await self._take(priority, self.turn() if turn is None else turn)
        try:
            yield
        finally:
            self._give()

    def turn(self) -> int:
        """The next number: of two that wait with one priority, the lower goes first."""
        return next(self._order)

    async def _take(self, priority: float, turn: int) -> None:
        if self.free:
            self.free -= 1
            return
        place: AsyncFuture[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-priority, turn, place, time.monotonic()))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # given in the same turn of the loop
                self._give()
            raise

    def _give(self) -> None:
        while self._waiting:
            place = heapq.heappop(self._waiting)[2]
            if not place.done():
                place.set_result(None)
                return
        self.free += 1
