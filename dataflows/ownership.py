"""Which results belong to an asset alone: equal content is stored once, so assets may share results and objects."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataflows import queries
from operators.stages.ingest import JobClaim
from operators.stages.steps import result_key
from schemas.asset import StepResult
from schemas.events import STATUS
from schemas.manifest import Manifest
from schemas.ports import ObjectStore
from schemas.settings import Settings
from sources.inbox import Line

AT_ONCE = 32
RESULTS = result_key("", "").split("/", 1)[0]


@dataclass
class Claims:
    """What an asset stands on: digests and identities of its originals, and the ids of results that name it."""

    roots: set[str] = field(default_factory=set)
    results: set[str] = field(default_factory=set)

    def __or__(self, other: Claims) -> Claims:
        return Claims(self.roots | other.roots, self.results | other.results)


async def records(store: ObjectStore, prefix: str) -> AsyncIterator[tuple[str, bytes]]:
    """All records below a prefix with their keys, several read at once."""
    keys = await store.keys(prefix)
    for start in range(0, len(keys), AT_ONCE):
        part = keys[start : start + AT_ONCE]
        for key, data in zip(part, await asyncio.gather(*(store.get(key) for key in part)), strict=True):
            if data is not None:
                yield key, data


async def results_of(store: ObjectStore, tenant: str) -> list[StepResult]:
    """Every recorded result of a tenant."""
    return [StepResult.model_validate_json(data) async for _key, data in records(store, f"{RESULTS}/{tenant}")]


def inbox_of(settings: Settings) -> Path:
    """The embedded log of submissions."""
    return settings.below("inbox", "ingest.jsonl")


def lines(path: Path) -> Iterable[Line]:
    """The log's lines, less those that were blanked."""
    offset = 0
    if not path.exists():
        return
    with path.open("rb") as file:
        for value in file:
            if value.strip():
                yield Line(offset, value.rstrip(b"\n"))
            offset += len(value)


async def claims(settings: Settings, store: ObjectStore) -> dict[str, Claims]:
    """The claims of every asset of the tenant: from its jobs, its originals, manifests and events."""
    tenant = settings.tenant
    found: defaultdict[str, Claims] = defaultdict(Claims)
    async for key, data in records(store, f"jobs/{tenant}"):
        job = JobClaim.model_validate_json(data)
        for identity in (source.identity for source in (job.source, *job.sidecars)):
            # the fetch step names a source without a validator by its job
            found[key.split("/")[-2]].roots |= {identity, f"{identity}#{job.job_id}"}
    for key in await store.keys(f"originals/{tenant}"):
        *_, sha256, name = key.split("/")
        found[Path(name).stem].roots.add(sha256)
    async for _key, data in records(store, f"manifests/{tenant}"):
        manifest = Manifest.model_validate_json(data)
        found[manifest.asset_id] |= _of_manifest(manifest)
    for row in queries.rows(settings, "events", columns=["asset_id", "data"], type=STATUS, tenant=tenant):
        if result := json.loads(row["data"])["result_id"]:
            found[row["asset_id"]].results.add(result)
    return dict(found)


def _of_manifest(manifest: Manifest) -> Claims:
    fetched = {i for step in manifest.steps if step.stage == "ingest" for i in step.inputs}
    return Claims({manifest.original.sha256, *fetched}, {step.result_id for step in manifest.steps})


def reached(results: Sequence[StepResult], roots: Collection[str]) -> set[str]:
    """The ids of results that follow from these roots: all their inputs that are content come from there.

    An input that no result made and no root is (the digest of a text, say) does not count.
    """
    content = {o.sha256 for r in results for o in r.outputs} | {
        i for r in results if r.stage == "ingest" for i in r.inputs
    }
    known, found, grows = set(roots), set[str](), True
    while grows:
        grows = False
        for result in results:
            inputs = content.intersection(result.inputs)
            if result.result_id not in found and inputs and inputs <= known:
                found.add(result.result_id)
                known |= {o.sha256 for o in result.outputs}
                grows = True
    return found


def owned(results: Sequence[StepResult], mine: Claims, others: Claims) -> set[str]:
    """The ids of results that go with an asset: none that another asset follows from or names.

    What both could have made but only this one names goes too where it is values alone (a gate's, which has the
    file's name): another asset that is still under way may hold references to files.
    """
    content = {o.sha256 for r in results for o in r.outputs}
    loose = {r.result_id for r in results if not r.outputs or not content.intersection(r.inputs)}
    alone = reached(results, mine.roots) - reached(results, others.roots)
    return (alone | (mine.results & loose)) - others.results
