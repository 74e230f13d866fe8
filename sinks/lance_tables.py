"""The folder of the embedded index: its tables, opened once, and the link by which a rebuild replaces it.

The tables lie in a folder `NAME-1`, to which the link `NAME` points. A rebuild makes `NAME-2` and moves the link:
whoever reads meanwhile sees one or the other.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import lancedb
import pyarrow as pa
from lancedb.index import FTS
from lancedb.table import AsyncTable

from schemas.errors import AssetError
from sinks.lance_rows import SPACE, WORDS

MERGE_AT = 64
KEEP_VERSIONS = timedelta(minutes=10)
TRIES = 5

# The terms come with a space between them, and are indexed as they are.
_TERMS = FTS(
    base_tokenizer="whitespace", lower_case=False, stem=False, remove_stop_words=False, ascii_folding=False,
    max_token_length=None,
)  # fmt: skip

T = TypeVar("T")


class Tables:
    """The tables of the folder that the link points to now, for use from one event loop."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, Path()
        self._connected: lancedb.AsyncConnection | None = None
        self._tables: dict[str, AsyncTable] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def open(self, name: str, schema: pa.Schema | None = None) -> Any:
        """The table; without a schema None if it is not there, with one it is created. Kept open."""
        async with self._locks["open"]:
            if schema is None and not self._path.exists():
                return None
            connection = await self._connection()
            if name not in self._tables:
                if schema is None and name not in await _names(connection):
                    return None
                self._tables[name] = await retried(partial(_opened, connection, name, schema))
            return self._tables[name]

    async def names(self) -> list[str]:
        """The tables that there are."""
        return await _names(await self._connection()) if self._path.exists() else []

    async def of_spaces(self) -> list[str]:
        """Those of vector spaces."""
        return [name for name in await self.names() if name.startswith(SPACE)]

    async def upsert(self, table: AsyncTable, rows: pa.Table) -> None:
        """Upserts by id, and compacts when small writes have piled up; one writer per table at a time."""
        async with self._locks[table.name]:
            merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            await retried(lambda: merge.execute(rows))
            with index_errors():
                stats: Any = await table.stats()
            if stats["fragment_stats"]["num_small_fragments"] >= MERGE_AT:
                await retried(lambda: table.optimize(cleanup_older_than=KEEP_VERSIONS))

    async def each(self, work: Callable[[AsyncTable], Awaitable[Any]]) -> None:
        """Changes every table."""
        for name in await self.names():
            table = await self.open(name)
            async with self._locks[name]:
                await retried(partial(work, table))

    async def read(self, query: Callable[[], Awaitable[T]]) -> T:
        """The query's answer, also where a rebuild takes the folder away meanwhile."""
        folder = self._path.resolve()
        try:
            return await query()
        except AssetError:
            if self._path.resolve() == folder:
                raise
            return await query()

    def folder(self) -> Path:
        """Where the tables lie; the first one is made."""
        with index_errors():
            if not self._path.exists():
                first = self._path.with_name(f"{self._path.name}-1")
                first.mkdir(parents=True, exist_ok=True)
                with suppress(FileExistsError):
                    self._path.symlink_to(first.name)
            return self._path.resolve()

    def beside(self) -> Path:
        """A new folder beside the one in use."""
        number = int(self.folder().name.rpartition("-")[2]) + 1
        with index_errors():
            folder = self._path.with_name(f"{self._path.name}-{number}")
            folder.mkdir()
        return folder

    def move(self, folder: Path) -> None:
        """Points the link to another folder, by one rename."""
        with index_errors():
            link = self._path.with_name(f"{self._path.name}-link")
            link.unlink(missing_ok=True)
            link.symlink_to(folder.name)
            link.replace(self._path)

    async def prune(self) -> None:
        """Removes every folder but the one in use."""
        used = self.folder()
        for folder in self._path.parent.glob(f"{self._path.name}-*[0-9]"):
            if folder.name != used.name:
                with index_errors():
                    await asyncio.to_thread(shutil.rmtree, folder)

    def close(self) -> None:
        """Lets go of what is open."""
        if self._connected is not None:
            self._connected.close()
        self._connected, self._tables = None, {}

    async def _connection(self) -> lancedb.AsyncConnection:
        folder = self.folder()
        if self._connected is None or self._at != folder:
            self.close()
            with index_errors():
                # An interval of zero sees what other processes wrote.
                self._connected = await lancedb.connect_async(str(folder), read_consistency_interval=timedelta(0))
            self._at = folder
        return self._connected


async def _names(connection: lancedb.AsyncConnection) -> list[str]:
    names, token = [], None
    with index_errors():
        while True:
            page = await connection.list_tables(page_token=token)
            names += page.tables
            if not (token := page.page_token):
                return names


async def _opened(connection: lancedb.AsyncConnection, name: str, schema: pa.Schema | None) -> AsyncTable:
    """Creates the table only with a schema. A process killed midway may have left it without index."""
    if schema is None:
        table = await connection.open_table(name)
    else:
        table = await connection.create_table(name, schema=schema, exist_ok=True)
    if name == WORDS and not await table.list_indices():
        await table.create_index("words", config=_TERMS, replace=True)
    return table


async def retried(work: Callable[[], Awaitable[T]]) -> T:
    """Another process may commit first; LanceDB then asks for the same again."""
    for attempt in range(1, TRIES + 1):
        try:
            return await work()
        except (RuntimeError, OSError, ValueError) as error:
            if attempt == TRIES or "conflict" not in str(error).lower():
                raise AssetError("index_unavailable", type(error).__name__) from error
            await asyncio.sleep(0.05 * 2**attempt)
    raise AssertionError("unreachable")


@contextmanager
def index_errors() -> Iterator[None]:
    """Turns the library's errors into index_unavailable."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        raise AssetError("index_unavailable", type(error).__name__) from error
