"""Everything that a case has left in the stores, read once."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from dataflows import tables
from dataflows.connections import objects_of, opened_index
from dataflows.ownership import RESULTS, records
from operators.stages.ingest import Claim
from schemas.asset import StepResult
from schemas.batches import decode_works
from schemas.errors import AssetError
from schemas.events import DeadLetter
from schemas.manifest import Manifest
from schemas.ports import ObjectStore
from schemas.settings import Settings
from schemas.tables import TABLES
from schemas.topics import DERIVED, ENRICHED, REGISTERED, VALIDATED
from sinks.records import OBJECTS
from sources.kafka_topic import messages

Row = dict[str, Any]
_AT_ONCE = 16


@dataclass
class Kept:
    """`objects` has the tenant, the SHA-256 by which an object is named, and whether its bytes have it."""

    tables: dict[str, list[Row]] = field(default_factory=dict)
    manifests: list[Manifest] = field(default_factory=list)
    results: dict[str, StepResult] = field(default_factory=dict)
    letters: list[DeadLetter] = field(default_factory=list)
    claims: dict[str, Claim] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)
    tombstones: set[str] = field(default_factory=set)
    objects: dict[tuple[str, str], bool] = field(default_factory=dict)
    vectors: dict[str, str] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    published: set[str] = field(default_factory=set)
    left: list[str] = field(default_factory=list)

    def current(self) -> dict[str, Manifest]:
        """The newest manifest of each asset."""
        return {m.asset_id: m for m in sorted(self.manifests, key=lambda m: m.version)}

    def events(self, kind: str) -> list[Row]:
        """The rows of events of this type."""
        return [row for row in self.tables["events"] if row["type"] == kind]

    def named(self) -> set[tuple[str, str]]:
        """The objects that a manifest or a result names."""
        found = {(m.tenant, m.original.sha256) for m in self.manifests}
        found |= {(m.tenant, v.sha256) for m in self.manifests for v in m.variants}
        return found | {(key.split("/")[1], o.sha256) for key, r in self.results.items() for o in r.outputs}


async def kept(settings: Settings) -> Kept:
    """Reads the stores; objects are hashed."""
    store = objects_of(settings)
    made = Kept(tables={name: tables.scan(settings, name).collect().to_dicts() for name in TABLES})
    async for _key, data in records(store, "manifests"):
        made.manifests.append(Manifest.model_validate_json(data))
    async for key, data in records(store, RESULTS):
        made.results[key] = StepResult.model_validate_json(data)
    async for _key, data in records(store, "dead-letters"):
        made.letters.append(DeadLetter.model_validate_json(data))
    async for _key, data in records(store, "claims"):
        claim = Claim.model_validate_json(data)
        made.claims[claim.asset_id] = claim
    made.jobs = await store.keys("jobs")
    made.tombstones = {_stem(key) for key in await store.keys("tombstones")}
    made.objects = {found: whole async for found, whole in _hashed(store)}
    published = settings.below("published")
    made.published = {str(folder.relative_to(published)) for folder in published.glob("*/*/v*")}
    made.left = [*await store.left(0), *await store.keys("deleting")]
    async with opened_index(settings) as index:
        made.vectors, made.words = await index.entries()
    return made


def _stem(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")


async def _hashed(store: ObjectStore) -> Any:
    keys = [(key.split("/")[1], key.rpartition("/")[2]) for key in await store.keys(OBJECTS)]

    async def whole(tenant: str, sha256: str) -> bool:
        try:
            await store.read(tenant, sha256)
        except AssetError:
            return False
        return True

    for start in range(0, len(keys), _AT_ONCE):
        part = keys[start : start + _AT_ONCE]
        for key, found in zip(part, await asyncio.gather(*(whole(*key) for key in part)), strict=True):
            yield key, found


def handed_again(settings: Settings) -> int:
    """How many works were handed from flow to flow that had been handed on before."""
    count = 0
    for topic in (VALIDATED, DERIVED, ENRICHED, REGISTERED):
        works = Counter(work.record.job_id for message in messages(settings, topic) for work in decode_works(message))
        count += sum(works.values()) - len(works)
    return count
