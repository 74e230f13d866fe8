"""Work on a video as derive gets it, and what there is of its chunks."""

from __future__ import annotations

import asyncio
from pathlib import Path

from operators.media.probe import quick_probe
from schemas.asset import IngestRecord, IngestRequest, Kind, Source, StepResult, Work
from schemas.pipelines import Limits, Pipeline, VideoEncode, VideoParams
from schemas.ports import ObjectStore

FAST = VideoParams(
    mezzanine=VideoEncode(height=144, crf=24, gop_s=2.0, preset="ultrafast"),
    preview=VideoEncode(height=72, crf=26, gop_s=1.0, preset="ultrafast"),
    chunk_s=0.5,
)


async def work_of(store: ObjectStore, path: Path, tenant: str = "default", video: VideoParams = FAST) -> Work:
    """The work of a clip whose original is in the store."""
    original = await store.add_file(tenant, path, "video/mp4")
    request = IngestRequest(tenant=tenant, source=Source(uri=path.as_uri(), name=path.name), idempotency_key=path.name)
    record = IngestRecord(asset_id=request.asset_id, job_id="job", event_id="event", accepted_ms=1, request=request)
    technical = await asyncio.to_thread(quick_probe, path, "video", Limits())
    pipeline = Pipeline(profile="none", video=video)
    return Work(record=record, pipeline=pipeline, original=original, kind=Kind.VIDEO, technical=technical)


async def chunk_results(store: ObjectStore, tenant: str = "default") -> dict[str, StepResult]:
    """The recorded results of chunks, by their ids."""
    found = [await store.get(key) for key in await store.keys(f"results/{tenant}")]
    results = [StepResult.model_validate_json(data) for data in found if data]
    return {result.result_id: result for result in results if result.step.startswith("chunk-")}
