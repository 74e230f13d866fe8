"""What was deleted: work and rows of a deleted asset are dropped wherever they turn up again.

A recovery store or a log that is read again may still hold them. Only one thing is ever said of such an asset: that a
new submission of it was refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from operators.stages.dead_letter import Ending
from operators.stages.ingest import tombstone_key
from schemas.asset import Work
from schemas.base import Model
from schemas.events import IngestEvent
from schemas.ports import ObjectStore

CODE = "deleted"
PREFIX = tombstone_key("", "").split("/", 1)[0]


class Tombstone(Model):
    """The record that stands for a deleted asset; `at_ms` is when it was deleted, in ms since 1970."""

    asset_id: str
    tenant: str
    at_ms: int
    reason: str


@dataclass(frozen=True)
class Tombstones:
    """The ids of all deleted assets. Nothing is deleted while a flow holds the folder, so a flow reads them once."""

    assets: frozenset[str] = frozenset()

    @classmethod
    async def load(cls, store: ObjectStore) -> Tombstones:
        """Those of all tenants."""
        keys = await store.keys(PREFIX)
        return cls(frozenset(key.rpartition("/")[2].removesuffix(".json") for key in keys))

    def cover(self, item: IngestEvent | Work | Ending) -> bool:
        """Whether an item of a stage is of a deleted asset; a submission is not, for ingest has to refuse it."""
        if isinstance(item, Work):
            return item.asset_id in self.assets
        return isinstance(item, Ending) and item.letter.code != CODE and item.letter.asset_id in self.assets

    def cover_row(self, row: Mapping[str, Any]) -> bool:
        """Whether a table's row is of a deleted asset, and does not say that it was refused for that."""
        return row["asset_id"] in self.assets and row.get("code") != CODE
