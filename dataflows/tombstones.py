"""What was deleted: work and rows of a deleted asset are dropped wherever they turn up again.

A recovery store or a log that is read again may still hold them. Only one thing is ever said of such an asset: that a
new submission of it was refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from operators.stages.dead_letter import Ending, subject_of
from operators.stages.ingest import tombstone_key
from schemas.asset import Work
from schemas.base import Model
from schemas.chunks import ChunkTask
from schemas.ports import ObjectStore
from schemas.structs import Received

CODE = "deleted"
Rows = TypeVar("Rows", pa.Table, pa.RecordBatch)
PREFIX = tombstone_key("", "").split("/", 1)[0]


class Tombstone(Model):
    """The record that stands for a deleted asset; `at_ms` is when it was deleted, in ms since 1970."""

    asset_id: str
    tenant: str
    at_ms: int
    reason: str


@dataclass
class Tombstones:
    """The ids of deleted assets that this process knows of.

    Embedded, nothing is deleted while a flow holds the folder: all are read once. With `live` an asset may be deleted
    at any time, and each question about an item goes to the store.
    """

    assets: set[str] = field(default_factory=set)
    live: ObjectStore | None = None

    @classmethod
    async def load(cls, store: ObjectStore) -> Tombstones:
        """Those of all tenants."""
        keys = await store.keys(PREFIX)
        return cls({key.rpartition("/")[2].removesuffix(".json") for key in keys})

    async def cover(self, item: Received | Work | Ending | ChunkTask) -> bool:
        """Whether an item of a stage is of a deleted asset; a submission is not, for ingest has to refuse it."""
        if isinstance(item, Received) or (isinstance(item, Ending) and item.letter.code == CODE):
            return False
        about = subject_of(item)
        if self.live and about.asset_id not in self.assets:
            await self._ask(self.live, about.tenant, about.asset_id)
        return about.asset_id in self.assets

    async def _ask(self, store: ObjectStore, tenant: str, asset_id: str) -> None:
        if await store.get(tombstone_key(tenant, asset_id)) is not None:
            self.assets.add(asset_id)

    async def living(self, rows: pa.Table) -> pa.Table:
        """A table's rows, less those of assets that are deleted by now; that one was refused for it may be said."""
        columns = rows.select(["tenant", "asset_id"]).group_by(["tenant", "asset_id"]).aggregate([])
        about = zip(columns["tenant"].to_pylist(), columns["asset_id"].to_pylist(), strict=True)
        if self.live:
            await asyncio.gather(*(self._ask(self.live, *each) for each in about if each[1] not in self.assets))
        return self.spare(rows)

    def spare(self, rows: Rows) -> Rows:
        """The same of a table or batch, by the assets that are known; of one without assets, all rows."""
        if "asset_id" not in rows.schema.names:
            return rows
        gone = pc.is_in(rows["asset_id"], pa.array(self.assets, pa.string()))
        if "code" in rows.schema.names:
            gone = pc.and_(gone, pc.not_equal(rows["code"], CODE))
        return rows.filter(pc.invert(gone))

    def cover_row(self, row: Mapping[str, Any]) -> bool:
        """Whether a table's row is of a deleted asset, and does not say that it was refused for that."""
        return row["asset_id"] in self.assets and row.get("code") != CODE
