"""Streams of bytes in blocks, measured and hashed as they pass, and work on them that runs ahead."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from schemas.errors import AssetError

BLOCK = 2**20

T = TypeVar("T")


class Seen:
    """Digest and length of the blocks that pass; too_large once they are more than `limit` bytes."""

    def __init__(self, limit: int | None) -> None:
        self.bytes, self._limit, self._hash = 0, limit, hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what has passed so far, in hexadecimal."""
        return self._hash.hexdigest()

    async def passing(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same blocks, hashed in a thread."""
        async for block in blocks:
            self.bytes += len(block)
            if self._limit is not None and self.bytes > self._limit:
                raise AssetError("too_large", f"more than {self._limit} bytes")
            await asyncio.to_thread(self._hash.update, block)
            yield block


async def file_blocks(path: Path) -> AsyncIterator[bytes]:
    """The file's bytes in blocks of 1 MiB, read in a thread."""
    with path.open("rb", buffering=0) as file:
        while block := await asyncio.to_thread(file.read, BLOCK):
            yield block


async def coalesced(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Blocks of at least 1 MiB but the last: a thread per network packet would cost more than its hash."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) >= BLOCK:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


async def in_parts(blocks: AsyncIterable[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes in parts of exactly `size` but the last."""
    held = bytearray()
    async for block in blocks:
        held += block
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)


async def in_order(jobs: AsyncIterable[Coroutine[Any, Any, T]], at_once: int) -> AsyncIterator[T]:
    """The jobs' results in their order while at most `at_once` run; none runs on after an error or an early end."""
    running: deque[asyncio.Task[T]] = deque()
    try:
        async for job in jobs:
            running.append(asyncio.create_task(job))
            if len(running) == at_once:
                yield await running[0]
                running.popleft()
        while running:
            yield await running[0]
            running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
