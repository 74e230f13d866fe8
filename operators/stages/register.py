"""Register: the index first, then the manifest, written last, which makes the asset visible; rows follow."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa

from operators.stages.metadata import metadata_of
from operators.stages.rows import lineage_rows, step_rows, variant_rows
from operators.stages.services import Services
from operators.stages.steps import done
from schemas import ids
from schemas.asset import Output, StepResult, Work
from schemas.errors import AssetError
from schemas.manifest import Edge, Manifest, Metadata, Variant
from schemas.outcome import Outcome
from schemas.ports import IndexEntry, ObjectStore

INTERNAL = frozenset({"original", "sidecar", "vectors", "stills", "part"})


async def run(services: Services, work: Work) -> Outcome:
    """Indexes the vectors, writes the manifest if its content is new, and hands on the rows.

    Raises index_unavailable, store_unavailable.
    """
    metadata, started = metadata_of(work), time.monotonic()
    entries = await index(services, work, metadata)
    indexed = done(services, work, "register", "index", started)
    started = time.monotonic()
    manifest = await write_manifest(services.store, draft(services, work, metadata, entries))
    await services.index.retire(work.asset_id, work.tenant, [i for found in entries.values() for i in found])
    written = done(services, work, "register", "manifest", started)
    rows = (*variant_rows(manifest), *lineage_rows(manifest), *step_rows(work))
    return Outcome(work.model_copy(update={"manifest_version": manifest.version}), events=(indexed, written), rows=rows)


async def index(services: Services, work: Work, metadata: Metadata) -> dict[str, tuple[str, ...]]:
    """Puts every vector of the asset into its space; the ids by space."""
    if not work.record.request.consent.search:
        return {}
    entries: dict[str, tuple[str, ...]] = {}
    about = _about(work.asset_id, work.tenant, str(work.kind), metadata)
    for output in (o for r in work.steps for o in r.result.outputs if o.role == "vectors"):
        space = str(output.properties["space"])
        found = await _entries(services.store, about, output, space)
        await services.index.put(space, found)
        entries[space] = entries.get(space, ()) + tuple(e.id for e in found)
    return entries


def vectors_of(manifest: Manifest) -> list[Output]:
    """The files of vectors from which an asset's entries are made; none without consent to search."""
    if not manifest.record.request.consent.search:
        return []
    return [output for step in manifest.steps for output in step.outputs if output.role == "vectors"]


async def entries_of(store: ObjectStore, manifest: Manifest) -> dict[str, list[IndexEntry]]:
    """The entries of a registered asset by space, as `index` put them. Raises object_missing."""
    entries: dict[str, list[IndexEntry]] = {}
    about = _about(manifest.asset_id, manifest.tenant, str(manifest.kind), manifest.metadata)
    for output in vectors_of(manifest):
        space = str(output.properties["space"])
        entries.setdefault(space, []).extend(await _entries(store, about, output, space))
    return entries


def _about(asset_id: str, tenant: str, kind: str, metadata: Metadata) -> dict[str, Any]:
    """What all entries of an asset say."""
    return {
        "asset_id": asset_id, "tenant": tenant, "kind": kind, "title": metadata.title,
        "tags": metadata.tags + metadata.labels, "language": metadata.language,
    }  # fmt: skip


async def _entries(store: ObjectStore, about: dict[str, Any], output: Output, space: str) -> list[IndexEntry]:
    rows = pa.ipc.open_file(await store.read(about["tenant"], output.sha256)).read_all().to_pylist()
    return [
        IndexEntry(id=ids.index_id(about["asset_id"], space, f"{output.name}/{row['moment']}"), **about, **row)
        for row in rows
    ]


def variants_of(store: ObjectStore, work: Work) -> tuple[Variant, ...]:
    """Every derived file that is for others, with its URL; of two with one name that of the later step."""
    made = {
        output.name: Variant(
            **output.model_dump(), url=store.url(work.tenant, output.sha256), result_id=run.result.result_id
        )
        for run in work.steps
        for output in run.result.outputs
        if output.role not in INTERNAL
    }
    return tuple(made.values())


def edges_of(work: Work) -> tuple[Edge, ...]:
    """From the source and parents over every step to its outputs."""
    asset = f"asset:{work.asset_id}"
    edges = [Edge(source=f"asset:{p}", target=asset, stage="ingest", step="parent", version="1")
             for p in work.record.request.parents]  # fmt: skip
    for run in work.steps:
        edges += _step_edges(run.result, asset)
    return tuple(edges)


def _step_edges(result: StepResult, asset: str) -> list[Edge]:
    sources = [asset] if result.stage == "ingest" else [f"sha256:{i}" for i in result.inputs]
    shared = result.model_dump(include={"stage", "step", "version", "params", "result_id"})
    return [
        Edge(source=source, target=f"sha256:{output.sha256}", target_name=output.name, **shared)
        for source in dict.fromkeys(sources)
        for output in result.outputs
    ]


def draft(services: Services, work: Work, metadata: Metadata, entries: dict[str, tuple[str, ...]]) -> Manifest:
    """The manifest, not yet numbered."""
    if work.original is None or work.kind is None or work.technical is None:
        raise AssetError("internal", "an asset came to register before it was validated")
    first = {"generation": 0, "replay_of": ""}  # what a replay makes is no other version
    request = work.record.request.model_copy(update=first)
    return Manifest(
        version=0, asset_id=work.asset_id, job_id=work.record.job_id, tenant=work.tenant, kind=work.kind,
        record=work.record.model_copy(update={"request": request}), pipeline=work.pipeline.fingerprint,
        original=work.original, original_url=services.store.url(work.tenant, work.original.sha256), metadata=metadata,
        technical=work.technical, variants=variants_of(services.store, work),
        steps=tuple(r.result for r in work.steps), lineage=edges_of(work), index=entries,
    )  # fmt: skip


def manifest_prefix(tenant: str, asset_id: str) -> str:
    """Where an asset's manifests lie, one record a version."""
    return f"manifests/{tenant}/{asset_id}/"


async def current_manifest(store: ObjectStore, tenant: str, asset_id: str) -> Manifest | None:
    """The newest version: numbers are only ever added, so it never moves back."""
    keys = await store.keys(manifest_prefix(tenant, asset_id))
    data = await store.get(keys[-1]) if keys else None
    return Manifest.model_validate_json(data) if data else None


async def write_manifest(store: ObjectStore, wanted: Manifest) -> Manifest:
    """Writes the next number if absent, unless the current version says the same; again when another was first."""
    while True:
        current = await current_manifest(store, wanted.tenant, wanted.asset_id)
        if current is not None and current.content_digest == wanted.content_digest:
            return current
        mine = wanted.model_copy(update={"version": current.version + 1 if current else 1})
        key = f"{manifest_prefix(wanted.tenant, wanted.asset_id)}{mine.version:08d}.json"
        standing = Manifest.model_validate_json(await store.create(key, mine.model_dump_json().encode()))
        if standing.content_digest == wanted.content_digest:
            return standing
