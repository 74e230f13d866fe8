"""Whether everything that is kept is whole: objects, manifests, index, tables, publications, and nothing left over."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dataflows import verifying_copies as copies
from dataflows.connections import objects_of
from dataflows.deleting import PLANS, digests_of
from dataflows.output import size
from dataflows.ownership import RESULTS, records
from dataflows.problems import Kept, Problem, Version, digest_of, problem
from dataflows.tombstones import Tombstones
from operators.stages.rows import lineage_rows, variant_rows
from schemas.asset import StepResult
from schemas.base import Model
from schemas.errors import AssetError
from schemas.manifest import Manifest
from schemas.ports import ObjectStore
from schemas.settings import Settings
from sinks.records import OBJECTS

VERIFIED = ["code", "subject", "message"]
HASHED_AT_ONCE = 4
DAY_S = 86_400.0
DROPPED = "dropped"


class Verified(Model):
    """What was looked at, and what is wrong."""

    problems: tuple[Problem, ...] = ()
    objects: int = 0
    bytes: int = 0
    manifests: int = 0
    table_rows: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def rows(self) -> list[dict[str, Any]]:
        """An object for each problem, or one that says what was found to be whole."""
        seen = self.model_dump(exclude={"problems"})
        objects = f"{self.objects} objects ({size(self.bytes)})"
        message = f"{objects}, {self.manifests} manifests and {self.table_rows} rows are whole"
        return [p.model_dump() for p in self.problems] or [{"code": "clean", "subject": "", "message": message, **seen}]


async def verify(settings: Settings) -> Verified:
    """Looks at everything of all tenants. Raises store_unavailable, index_unavailable."""
    store = objects_of(settings)
    kept = Kept(tombstones=await Tombstones.load(store))
    found = [*await _manifests(settings, store, kept), *await _results(store, kept)]
    hashed = [item async for item in hash_all(settings, store, kept)]
    found += [item for item in hashed if isinstance(item, Problem)]
    sizes = [item for item in hashed if isinstance(item, int)]
    count, of_tables = copies.tables(settings, kept)
    found += [*of_tables, *await copies.index(settings, kept), *copies.publications(settings, kept)]
    found += [*await left_over(settings, store), *await unfinished(store)]
    return Verified(
        problems=tuple(found), objects=len(sizes), bytes=sum(sizes), manifests=len(kept.versions), table_rows=count
    )


async def _manifests(settings: Settings, store: ObjectStore, kept: Kept) -> list[Problem]:
    """Reads every manifest; their numbers are whole from 1."""
    found, numbers = [], defaultdict[str, set[int]](set)
    async for key, data in records(store, "manifests"):
        try:
            manifest = Manifest.model_validate_json(data)
        except ValidationError as error:
            found.append(problem("manifest_unreadable", key, f"{error.error_count()} errors"))
            continue
        if key != f"manifests/{manifest.tenant}/{manifest.asset_id}/{manifest.version:08d}.json":
            found.append(problem("manifest_unreadable", key, "it says that it is another's"))
        numbers[manifest.asset_id].add(manifest.version)
        _keep(settings, manifest, kept)
    gaps = {a: set(range(1, max(n) + 1)) - n for a, n in numbers.items()}
    return found + [problem("manifest_gap", a, f"version {min(gap)}") for a, gap in gaps.items() if gap]


def _keep(settings: Settings, manifest: Manifest, kept: Kept) -> None:
    tenant = manifest.tenant
    kept.named |= {(tenant, sha256) for sha256 in digests_of(manifest)}
    pipelines = settings.pipelines()
    by_print = {pipeline.fingerprint: pipeline for pipeline in pipelines.values()}
    pipeline = by_print.get(manifest.pipeline) or pipelines.get(manifest.record.request.pipeline)
    if pipeline and pipeline.original == DROPPED:
        kept.dropped.add((tenant, manifest.original.sha256))
    kept.versions[manifest.asset_id, manifest.version] = Version(
        tenant=tenant, asset_id=manifest.asset_id, number=manifest.version, job_id=manifest.job_id,
        index=frozenset(chain.from_iterable(manifest.index.values())),
        variants={row["row_id"]: row["sha256"] for _, row in variant_rows(manifest)},
        edges=frozenset(row["row_id"] for _, row in lineage_rows(manifest)),
        steps=frozenset((s.stage, s.step, s.result_id) for s in manifest.steps),
    )  # fmt: skip


async def _results(store: ObjectStore, kept: Kept) -> list[Problem]:
    """Reads every recorded result; what it names has to be there too."""
    found = []
    async for key, data in records(store, RESULTS):
        try:
            result = StepResult.model_validate_json(data)
        except ValidationError as error:
            found.append(problem("result_unreadable", key, f"{error.error_count()} errors"))
            continue
        kept.named |= {(key.split("/")[1], o.sha256) for o in result.outputs}
    return found


async def hash_all(settings: Settings, store: ObjectStore, kept: Kept) -> AsyncIterator[Problem | int]:
    """Hashes every object that is there or should be, several at once: a problem, or the object's bytes."""
    there = {(key.split("/")[1], key.rpartition("/")[2]) for key in await store.keys(OBJECTS)}
    wanted = sorted(there | kept.named)
    settings.below("scratch").mkdir(parents=True, exist_ok=True)
    for start in range(0, len(wanted), HASHED_AT_ONCE):
        part = wanted[start : start + HASHED_AT_ONCE]
        for object_, told in zip(part, await asyncio.gather(*(_hash(settings, store, *o) for o in part)), strict=True):
            gone = isinstance(told, Problem) and told.code == "object_missing" and object_ in kept.dropped
            if not gone:
                yield told


async def _hash(settings: Settings, store: ObjectStore, tenant: str, sha256: str) -> Problem | int:
    try:
        async with store.local(tenant, sha256, settings.below("scratch")) as path:
            digest, count = await asyncio.to_thread(digest_of, path)
    except (AssetError, OSError) as error:
        known = {"object_missing": "object_missing", "object_damaged": "object_changed"}
        return problem(known.get(getattr(error, "code", ""), "object_unreadable"), f"{tenant}/{sha256}")
    return count if digest == sha256 else problem("object_changed", f"{tenant}/{sha256}")


async def left_over(settings: Settings, store: ObjectStore) -> list[Problem]:
    """What killed processes left, if it is older than a day."""
    before = time.time() - DAY_S
    scratch, published = settings.below("scratch"), settings.below("published")
    paths = chain(scratch.glob("*"), published.glob(".pending-*"), published.glob("*/*/.pending-*"))
    stale = [p.relative_to(settings.below()) for p in paths if p.name != "models" and p.lstat().st_mtime < before]
    return [problem("left_over", name) for name in (*stale, *await store.left(DAY_S))]


async def unfinished(store: ObjectStore) -> Iterable[Problem]:
    """Deletions that a crash cut short."""
    return [problem("deletion_unfinished", Path(key).stem) for key in await store.keys(PLANS)]
