"""Registers assets without a flow: objects, index and manifest as the stage leaves them."""

from __future__ import annotations

import io
from uuid import NAMESPACE_OID, uuid5

import pyarrow as pa
from flow_runs import Place

from dataflows.connections import index_of, objects_of
from dataflows.tombstones import Tombstone
from operators.stages.ingest import tombstone_key
from operators.stages.register import entries_of, manifest_prefix
from operators.stages.vectors import SCHEMA
from schemas.asset import Output, StepResult
from schemas.manifest import Manifest
from schemas.settings import Settings

SPACE, DIMENSION, MOMENTS = "org/model@1/cls", 4, 5
QUERY = [1.0, 0.0, 0.0, 0.0]


class Registry:
    """Registers assets as the stage does: the index first, then the manifest."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.store, self.index = settings, objects_of(settings), index_of(settings)
        self._template = Place(settings.out).manifests()[0]

    async def manifest(self, name: str, version: int = 1) -> Manifest:
        """An asset with some moments, each version's its own."""
        sink = io.BytesIO()
        rows = [
            {"moment": f"/{n}.000/v{version}", "start_s": float(n), "end_s": n + 1.0, "text": "rocket", "vector": QUERY}
            for n in range(MOMENTS)
        ]
        with pa.ipc.new_file(sink, SCHEMA) as writer:
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
        ref = await self.store.add_bytes("default", sink.getvalue(), "application/vnd.apache.arrow.file")
        about = {"space": SPACE, "dimension": DIMENSION, "rows": MOMENTS}
        output = Output(name="text", role="vectors", properties=about, **ref.model_dump())
        step = StepResult(result_id=f"{name}{version}", stage="enrich", step="text", version="1", outputs=(output,))
        changed = {"asset_id": str(uuid5(NAMESPACE_OID, name)), "version": version, "steps": (step,)}
        made = self._template.model_copy(update=changed)
        ids = {space: tuple(e.id for e in entries) for space, entries in (await entries_of(self.store, made)).items()}
        return made.model_copy(update={"index": ids})

    async def put(self, manifest: Manifest) -> None:
        """The first half of registration."""
        for space, entries in (await entries_of(self.store, manifest)).items():
            await self.index.put(space, entries)

    async def write(self, manifest: Manifest) -> None:
        """The second half."""
        key = f"{manifest_prefix(manifest.tenant, manifest.asset_id)}{manifest.version:08d}.json"
        await self.store.create(key, manifest.model_dump_json().encode())
        await self.index.retire(manifest.asset_id, manifest.tenant, [i for ids in manifest.index.values() for i in ids])

    async def register(self, name: str, version: int = 1) -> Manifest:
        """Both."""
        made = await self.manifest(name, version)
        await self.put(made)
        await self.write(made)
        return made

    async def delete(self, manifest: Manifest) -> None:
        """Deletes as the command does: the tombstone first."""
        stone = Tombstone(asset_id=manifest.asset_id, tenant=manifest.tenant, at_ms=1, reason="by the test")
        await self.store.create(tombstone_key(manifest.tenant, manifest.asset_id), stone.model_dump_json().encode())
        await self.index.retire(manifest.asset_id, manifest.tenant, keep=())
        for key in await self.store.keys(manifest_prefix(manifest.tenant, manifest.asset_id)):
            await self.store.delete(key)
