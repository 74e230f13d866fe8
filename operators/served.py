"""Files that a worker reads without a path to them: by a descriptor, or by ranges that the flow reads on its behalf.

A worker has no network and no credentials. What lies in an object store it reads over a socketpair, whose other end
the flow answers: it asks for (offset, length), and is answered with the length and the bytes.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
import struct
from asyncio import StreamReader, StreamWriter
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing import reduction
from typing import Any, BinaryIO, cast

from schemas.ports import Parts

BLOCK = 512 * 2**10
_KEPT = 32
_BUFFER = 256 * 2**10
_ASKED, _ANSWERED = struct.Struct(">QI"), struct.Struct(">I")
_MOST = 4 * 2**20


@dataclass(frozen=True)
class Handle:
    """A file of `size` bytes as an argument of a task: its descriptor, or where `served` that of a socket."""

    descriptor: int
    size: int
    served: bool = False

    def open(self) -> BinaryIO:
        """The file at its start; files that were opened from one handle do not disturb each other."""
        return cast(BinaryIO, io.BufferedReader(_Positioned(self), _BUFFER))

    def pread(self, length: int, offset: int) -> bytes:
        """At most `length` bytes from `offset` on, none at the end. Raises OSError where the flow cannot read them."""
        length = min(length, _MOST, max(0, self.size - offset))
        if not length or not self.served:
            return os.pread(self.descriptor, length, offset) if length else b""
        _write(self.descriptor, _ASKED.pack(offset, length))
        (found,) = _ANSWERED.unpack(_read(self.descriptor, _ANSWERED.size))
        return _read(self.descriptor, found)

    def __reduce__(self) -> tuple[Any, ...]:
        """Where a process is being started with it, the descriptor goes there too."""
        duplicate = reduction.DupFd(self.descriptor)  # type: ignore[attr-defined]
        return _arrived, (duplicate, self.size, self.served)


def _arrived(duplicate: Any, size: int, served: bool) -> Handle:
    return Handle(duplicate.detach(), size, served)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _read(descriptor: int, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        part = os.read(descriptor, length - len(found))
        if not part:
            raise OSError("the served file cannot be read any more")
        found += part
    return bytes(found)


class _Positioned(io.RawIOBase):
    """A handle with a position."""

    def __init__(self, handle: Handle) -> None:
        self._handle, self._at = handle, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._handle.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._handle.pread(len(buffer), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


@asynccontextmanager
async def serving(parts: Parts) -> AsyncIterator[Handle]:
    """A handle of a file that is read in parts, answered for as long as the context lasts."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    answering = asyncio.create_task(_answer(_Blocks(parts), reader, writer))
    try:
        yield Handle(theirs.fileno(), parts.size, served=True)
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        writer.close()
        theirs.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _answer(blocks: _Blocks, reader: StreamReader, writer: StreamWriter) -> None:
    """Until the other side ends, asks for what is not there, or the bytes cannot be had: then the line is cut."""
    try:
        while True:
            offset, length = _ASKED.unpack(await reader.readexactly(_ASKED.size))
            if not 0 < length <= _MOST or offset + length > blocks.size:
                return
            data = await blocks.read(offset, offset + length)
            writer.write(_ANSWERED.pack(len(data)) + data)
            await writer.drain()
    finally:
        blocks.close()
        writer.close()


class _Blocks:
    """A file in blocks, the last of which are kept; the one after what is read in a row is fetched ahead."""

    def __init__(self, parts: Parts) -> None:
        self._read, self.size = parts.read, parts.size
        self._blocks: OrderedDict[int, asyncio.Future[bytes]] = OrderedDict()

    async def read(self, start: int, end: int) -> bytes:
        numbers = range(start // BLOCK, -(-end // BLOCK))
        wanted = [self._block(number) for number in numbers]
        if numbers[0] - 1 in self._blocks and numbers[-1] + 1 < -(-self.size // BLOCK):
            self._block(numbers[-1] + 1)
        data = b"".join([await block for block in wanted])
        while len(self._blocks) > _KEPT:
            self._blocks.popitem(last=False)[1].cancel()
        return data[start - numbers[0] * BLOCK : end - numbers[0] * BLOCK]

    def _block(self, number: int) -> asyncio.Future[bytes]:
        if number not in self._blocks:
            start = number * BLOCK
            self._blocks[number] = asyncio.ensure_future(self._read(start, min(start + BLOCK, self.size)))
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def close(self) -> None:
        """Ends what is still being fetched."""
        for block in self._blocks.values():
            block.cancel()
