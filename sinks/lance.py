"""The embedded vector index, on LanceDB: one table per vector space, and one of words for full-text search.

Guarantee: what `put` returned from is found at once; putting again changes nothing, also from two processes
together. Rows that the full-text index does not hold yet are searched beside it until they are merged in.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from lancedb.expr import col
from lancedb.table import AsyncTable

from schemas.ports import EVERYTHING, Filter, Hit, IndexEntry, VectorIndex
from sinks import lance_rows as rows
from sinks.lance_rows import HIT, SPACE, WORDS
from sinks.lance_tables import KEEP_VERSIONS, Tables, index_errors
from sinks.vectors import common_dimension, in_order, once_a_moment
from sinks.words import terms

AT_ONCE = timedelta(milliseconds=1)


class LanceIndex:
    """A `VectorIndex` in a folder, for use from one event loop."""

    def __init__(self, path: Path) -> None:
        self._tables = Tables(path)

    async def put(self, space: str, entries: Sequence[IndexEntry]) -> None:
        """Upserts by id. Raises index_unavailable; ValueError if the vectors' lengths are not the space's."""
        unique = list({entry.id: entry for entry in entries}.values())
        if not unique:
            return
        dimension = common_dimension(space, unique)
        table = await self._tables.open(rows.table_name(space), rows.vector_schema(dimension))
        await _check_dimension(table, space, dimension)
        await self._tables.upsert(table, rows.vector_rows(unique, dimension))
        words = await self._tables.open(WORDS, rows.words_schema())
        await self._tables.upsert(words, rows.words_rows(unique, space))

    async def search(
        self, space: str, vector: Sequence[float], *, tenant: str, only: Filter = EVERYTHING, limit: int = 10
    ) -> list[Hit]:
        """Nearest moments by cosine (score 1: same direction), best first; empty for an unknown space."""

        async def nearest() -> list[Hit]:
            table = await self._tables.open(rows.table_name(space))
            if table is None:
                return []
            await _check_dimension(table, space, len(vector))
            query = table.query().nearest_to(list(vector)).distance_type("cosine").where(rows.of(tenant, only))
            with index_errors():
                found = await query.select([*HIT, "_distance"]).limit(limit).to_list()
            return [rows.hit(row, 1.0 - row["_distance"], space) for row in found]

        return await self._tables.read(nearest)

    async def words(self, text: str, *, tenant: str, only: Filter = EVERYTHING, limit: int = 10) -> list[Hit]:
        """Moments whose text, title or tags hold the words, by BM25, best first; each moment once."""
        wanted = " ".join(terms(text))

        async def matching() -> list[Hit]:
            table = await self._tables.open(WORDS)
            if table is None or not wanted:
                return []
            most = limit * max(1, len(await self._tables.of_spaces()))  # a moment has a row in each space at most
            query = table.query().nearest_to_text(wanted, "words").where(rows.of(tenant, only))
            with index_errors():
                found = await query.select([*HIT, "space", "_score"]).limit(most).to_list()
            return [rows.hit(row, row["_score"], row["space"]) for row in found]

        return once_a_moment(await self._tables.read(matching))[:limit]

    async def vectors(self, space: str, asset_id: str, tenant: str) -> list[list[float]]:
        """The asset's vectors in a space, [n, dimension], in order of time or page."""

        async def kept() -> list[dict[str, Any]]:
            table = await self._tables.open(rows.table_name(space))
            if table is None:
                return []
            query = table.query().where(_of_asset(asset_id, tenant))
            with index_errors():
                return await query.select(["id", "start_s", "page", "vector"]).to_list()

        return [list(row["vector"]) for row in in_order(await self._tables.read(kept))]

    async def retire(self, asset_id: str, tenant: str, keep: Sequence[str]) -> None:
        """Removes the asset's entries whose ids are not in `keep`, in every space.

        Nothing replaces this index while somebody writes, so that what was put is there.
        """
        gone = _of_asset(asset_id, tenant)
        if keep:
            gone = gone & ~col("id").isin(list(keep))
        await self._tables.each(lambda table: table.delete(gone))

    async def spaces(self) -> list[str]:
        """The spaces that have entries, sorted."""

        async def named() -> list[str]:
            found = []
            for name in await self._tables.of_spaces():
                table = await self._tables.open(name)
                with index_errors():
                    if table is not None and await table.count_rows():
                        found.append(rows.space_of(name))
            return sorted(found)

        return await self._tables.read(named)

    async def entries(self) -> tuple[dict[str, str], dict[str, str]]:
        """All entries of all tenants, id -> asset: those that vectors find, and those that words find."""
        found: tuple[dict[str, str], dict[str, str]] = {}, {}
        for name in await self._tables.names():
            table = await self._tables.open(name)
            with index_errors():
                held = await table.query().select(["id", "asset_id"]).to_arrow()
            ids, assets = held["id"].to_pylist(), held["asset_id"].to_pylist()
            found[0 if name.startswith(SPACE) else 1].update(zip(ids, assets, strict=True))
        return found

    async def purge(self) -> None:
        """What was retired leaves the disk."""
        await self.merge(AT_ONCE)

    async def merge(self, keep_versions: timedelta = KEEP_VERSIONS) -> None:
        """Compacts tables and full-text index; what is gone since `keep_versions` leaves the disk."""
        await self._tables.each(lambda table: table.optimize(cleanup_older_than=keep_versions))

    async def rebuild(self) -> LanceIndex:
        """An empty index beside this one; call this, `adopt` and `prune` while nobody else writes."""
        await self._tables.prune()
        return LanceIndex(self._tables.beside())

    async def adopt(self, rebuilt: VectorIndex) -> None:
        """Moves the link, which is one rename."""
        assert isinstance(rebuilt, LanceIndex)
        self._tables.move(rebuilt._tables.folder())

    async def prune(self) -> None:
        """Removes every folder but the one in use."""
        await self._tables.prune()

    async def close(self) -> None:
        """Lets go of what is open."""
        self._tables.close()


def _of_asset(asset_id: str, tenant: str) -> Any:
    return (col("asset_id") == asset_id) & (col("tenant") == tenant)


async def _check_dimension(table: AsyncTable, space: str, dimension: int) -> None:
    with index_errors():
        held = (await table.schema()).field("vector").type.list_size
    if held != dimension:
        raise ValueError(f"{space} has vectors of {held} dimensions, not {dimension}")
