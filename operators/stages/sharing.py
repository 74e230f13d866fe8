"""What several users in one process hold at once, made once: the first enters it, the last leaves it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class _Held:
    users: int = 0
    entered: bool = False
    value: Any = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


_held: dict[Hashable, _Held] = {}


@asynccontextmanager
async def shared(key: Hashable, make: Callable[[], AbstractAsyncContextManager[T]]) -> AsyncIterator[T]:
    """What `make` gives, entered by the first of those who hold this key. An error of it is of whoever made it."""
    held = _held.setdefault(key, _Held())
    held.users += 1
    try:
        async with held.lock:
            if not held.entered:
                held.value = await held.stack.enter_async_context(make())
                held.entered = True
        yield held.value
    finally:
        held.users -= 1
        if not held.users:
            del _held[key]
            await held.stack.aclose()
