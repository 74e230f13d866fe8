"""The embedded vector index, on LanceDB: one table per vector space, and one of words for full-text search.

Guarantee: what `put` returned from is found at once; putting again changes nothing, also from two processes
together. Rows that the full-text index does not hold yet are searched beside it until they are merged in.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote

import lancedb
import pyarrow as pa
from lancedb.expr import Expr, col
from lancedb.index import FTS
from lancedb.table import AsyncTable

from schemas.errors import AssetError
from schemas.ports import Hit, IndexEntry

MERGE_AT = 64
KEEP_VERSIONS = timedelta(minutes=10)
TRIES = 5

_WORDS, _SPACE = "words", "space-"
_CJK = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff])")
# Lance lets two writers insert the same new id at once unless it knows the key.
_KEY = {"lance-schema:unenforced-primary-key:position": "1"}
_FIELDS = [
    pa.field("id", pa.string(), nullable=False, metadata=_KEY),
    *(pa.field(name, pa.string(), nullable=False) for name in ("asset_id", "tenant", "kind", "moment")),
    pa.field("start_s", pa.float64()),
    pa.field("end_s", pa.float64()),
    pa.field("page", pa.int32()),
    *(pa.field(name, pa.string(), nullable=False) for name in ("title", "language", "text")),
]
_HIT = [name for name in Hit.model_fields if name not in ("score", "space")]

T = TypeVar("T")


class LanceIndex:
    """A `VectorIndex` in a folder (or at a URL that LanceDB knows), for use from one event loop."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._connected: lancedb.AsyncConnection | None = None
        self._tables: dict[str, AsyncTable] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def put(self, space: str, entries: Sequence[IndexEntry]) -> None:
        """Upserts by id. Raises index_unavailable; ValueError if the vectors' lengths are not the space's."""
        unique = list({entry.id: entry for entry in entries}.values())
        if not unique:
            return
        dimension = len(unique[0].vector)
        if not dimension or any(len(entry.vector) != dimension for entry in unique):
            raise ValueError(f"vectors of different length for {space}")
        table = await self._table(_table_name(space), _vector_schema(dimension))
        await _check_dimension(table, space, dimension)
        await self._merge_rows(table, _vector_rows(unique, dimension))
        await self._merge_rows(await self._table(_WORDS, _words_schema()), _words_rows(unique, space))

    async def search(
        self, space: str, vector: Sequence[float], *, tenant: str, kinds: Sequence[str] = (), limit: int = 10
    ) -> list[Hit]:
        """Nearest moments by cosine (score 1: same direction), best first; empty for an unknown space."""
        table = await self._table(_table_name(space))
        if table is None:
            return []
        await _check_dimension(table, space, len(vector))
        query = table.query().nearest_to(list(vector)).distance_type("cosine").where(_of(tenant, kinds))
        with _index_errors():
            rows = await query.select([*_HIT, "_distance"]).limit(limit).to_list()
        return [_hit(row, 1.0 - row["_distance"], space) for row in rows]

    async def words(self, text: str, *, tenant: str, kinds: Sequence[str] = (), limit: int = 10) -> list[Hit]:
        """Moments whose text, title or tags hold the words, by BM25, best first; each moment once.

        English stems and stop words; accents folded; each CJK character is a word.
        """
        table = await self._table(_WORDS)
        if table is None or not text.strip():
            return []
        most = limit * max(1, len(await self._space_tables()))  # a moment has a row in each space at most
        query = table.query().nearest_to_text(_segmented(text), "words").where(_of(tenant, kinds))
        with _index_errors():
            rows = await query.select([*_HIT, "space", "_score"]).limit(most).to_list()
        best: dict[tuple[str, str], Hit] = {}
        for row in rows:
            best.setdefault((row["asset_id"], row["moment"]), _hit(row, row["_score"], row["space"]))
        return list(best.values())[:limit]

    async def vectors(self, space: str, asset_id: str, tenant: str) -> list[list[float]]:
        """The asset's vectors in a space, [n, dimension], in order of time or page."""
        table = await self._table(_table_name(space))
        if table is None:
            return []
        query = table.query().where((col("asset_id") == asset_id) & (col("tenant") == tenant))
        with _index_errors():
            rows = await query.select(["id", "start_s", "page", "vector"]).to_list()
        rows.sort(key=lambda row: (row["start_s"] or 0.0, row["page"] or 0, row["id"]))
        return [list(row["vector"]) for row in rows]

    async def retire(self, asset_id: str, tenant: str, keep: Sequence[str]) -> None:
        """Removes the asset's entries whose ids are not in `keep`, in every space."""
        gone = (col("asset_id") == asset_id) & (col("tenant") == tenant)
        if keep:
            gone = gone & ~col("id").isin(list(keep))
        await self._each(lambda table: table.delete(gone))

    async def spaces(self) -> list[str]:
        """The spaces that have entries, sorted."""
        found = []
        for name in await self._space_tables():
            table = await self._table(name)
            with _index_errors():
                if table is not None and await table.count_rows():
                    found.append(_space_of(name))
        return sorted(found)

    async def merge(self, keep_versions: timedelta = KEEP_VERSIONS) -> None:
        """Compacts tables and full-text index; what is gone since `keep_versions` leaves the disk."""
        await self._each(lambda table: table.optimize(cleanup_older_than=keep_versions))

    async def _each(self, work: Callable[[AsyncTable], Awaitable[Any]]) -> None:
        for name in await self._names():
            table = await self._table(name)
            async with self._locks[name]:
                await _retried(partial(work, table))

    async def _merge_rows(self, table: AsyncTable, rows: pa.Table) -> None:
        """Upserts by id, and compacts when small writes have piled up; one writer per table at a time."""
        async with self._locks[table.name]:
            upsert = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            await _retried(lambda: upsert.execute(rows))
            with _index_errors():
                stats: Any = await table.stats()
            if stats["fragment_stats"]["num_small_fragments"] >= MERGE_AT:
                await _retried(lambda: table.optimize(cleanup_older_than=KEEP_VERSIONS))

    async def _table(self, name: str, schema: pa.Schema | None = None) -> Any:
        """The table; without a schema None if it is not there, with one it is created. Kept open."""
        async with self._locks["open"]:
            if name not in self._tables:
                connection = await self._connection()
                if schema is None and name not in await self._names():
                    return None
                self._tables[name] = await _retried(partial(_opened, connection, name, schema))
            return self._tables[name]

    async def _connection(self) -> lancedb.AsyncConnection:
        if self._connected is None:
            with _index_errors():
                # An interval of zero sees what other processes wrote.
                self._connected = await lancedb.connect_async(self._uri, read_consistency_interval=timedelta(0))
        return self._connected

    async def _names(self) -> list[str]:
        connection, names, token = await self._connection(), [], None
        with _index_errors():
            while True:
                page = await connection.list_tables(page_token=token)
                names += page.tables
                if not (token := page.page_token):
                    return names

    async def _space_tables(self) -> list[str]:
        return [name for name in await self._names() if name.startswith(_SPACE)]


async def _opened(connection: lancedb.AsyncConnection, name: str, schema: pa.Schema | None) -> AsyncTable:
    """Creates the table only with a schema. A process killed midway may have left it without index."""
    if schema is None:
        table = await connection.open_table(name)
    else:
        table = await connection.create_table(name, schema=schema, exist_ok=True)
    if name == _WORDS and not await table.list_indices():
        await table.create_index("words", config=FTS(), replace=True)
    return table


async def _check_dimension(table: AsyncTable, space: str, dimension: int) -> None:
    with _index_errors():
        held = (await table.schema()).field("vector").type.list_size
    if held != dimension:
        raise ValueError(f"{space} has vectors of {held} dimensions, not {dimension}")


async def _retried(work: Callable[[], Awaitable[T]]) -> T:
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
def _index_errors() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        raise AssetError("index_unavailable", type(error).__name__) from error


def _vector_schema(dimension: int) -> pa.Schema:
    return pa.schema([*_FIELDS, pa.field("vector", pa.list_(pa.float32(), dimension), nullable=False)])


def _words_schema() -> pa.Schema:
    return pa.schema([*_FIELDS, pa.field("space", pa.string(), False), pa.field("words", pa.string(), False)])


def _vector_rows(entries: Sequence[IndexEntry], dimension: int) -> pa.Table:
    rows = [entry.model_dump(exclude={"tags"}) for entry in entries]
    return pa.Table.from_pylist(rows, schema=_vector_schema(dimension))


def _words_rows(entries: Sequence[IndexEntry], space: str) -> pa.Table:
    rows = [
        entry.model_dump(exclude={"tags", "vector"})
        | {"space": space, "words": _segmented("\n".join((entry.title, *entry.tags, entry.text)))}
        for entry in entries
    ]
    return pa.Table.from_pylist(rows, schema=_words_schema())


def _segmented(text: str) -> str:
    """The tokenizer splits at spaces and punctuation, which Chinese and Japanese do not put between words."""
    return _CJK.sub(r" \1 ", text)


def _of(tenant: str, kinds: Sequence[str]) -> Expr:
    return (col("tenant") == tenant) & col("kind").isin(list(kinds)) if kinds else col("tenant") == tenant


def _hit(row: dict[str, Any], score: float, space: str) -> Hit:
    return Hit(**{name: row[name] for name in _HIT}, score=score, space=space)


def _table_name(space: str) -> str:
    """Reversible: every byte that a table's name may not hold, and the dot, becomes `.xx` in hexadecimal."""
    escaped = re.sub(rb"[^A-Za-z0-9_-]", lambda match: b".%02x" % match[0][0], space.encode()).decode()
    if not 0 < len(escaped) <= 200:
        raise ValueError(f"a vector space's id of {len(escaped)} characters")
    return _SPACE + escaped


def _space_of(name: str) -> str:
    return unquote(name.removeprefix(_SPACE).replace(".", "%"))
