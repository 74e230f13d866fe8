"""Chunks that other processes are asked to render, on a topic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from schemas import topics
from schemas.chunks import ChunkEnd, ChunkTask, encode_task
from schemas.messages import Record
from schemas.settings import Settings
from sinks.kafka import KafkaWriter


class Spreading:
    """Asks for chunks on their topic (`schemas.ports.Spread`); used on the stages' loop.

    A request is on every replica that is in sync before it is waited for.
    """

    def __init__(self, settings: Settings, waiting: Callable[[], None]) -> None:
        """`waiting` is called again and again while the broker is waited for; what it raises ends that."""
        self._settings, self._waiting = settings, waiting
        self._writer: KafkaWriter | None = None
        self._lock = asyncio.Lock()
        self._unsent: list[ChunkTask] = []
        self._calls: dict[str, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def ask(self, task: ChunkTask) -> AsyncIterator[asyncio.Future[None]]:
        """Asks for a chunk; see the port."""
        self._calls[task.call] = end = asyncio.get_running_loop().create_future()
        try:
            self._unsent.append(task)
            async with self._lock:  # who waits for it sends all that have come meanwhile
                tasks, self._unsent = self._unsent, []
                if tasks:
                    await self._send(tasks)
            yield end
        finally:
            del self._calls[task.call]
            if not end.cancel():
                end.exception()  # looked at, so that nobody warns of it

    async def _send(self, tasks: Sequence[ChunkTask]) -> None:
        try:
            await asyncio.to_thread(self._deliver, [encode_task(task) for task in tasks])
        except Exception as error:
            for task in tasks:
                if (end := self._calls.get(task.call)) and not end.done():
                    end.set_exception(error)

    def _deliver(self, records: Sequence[Record]) -> None:
        writer, self._writer = self._writer or self._connected(), None  # one that failed is not used again
        writer.write(records)
        writer.flush()
        self._writer = writer

    def _connected(self) -> KafkaWriter:
        return KafkaWriter(self._settings, [topics.CHUNKS], self._settings.patience, self._waiting)

    def ended(self, end: ChunkEnd) -> None:
        """Wakes who asked. Nobody may: a run before this one did, or it was told twice."""
        future = self._calls.get(end.call)
        if future is None or future.done():
            return
        if error := end.error():
            future.set_exception(error)
        else:
            future.set_result(None)
