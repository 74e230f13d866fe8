"""Ingest: claims the asset's identity, and brings its bytes into the object store under their digest."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial

from operators.stages import first
from operators.stages.services import Services
from operators.stages.steps import Made, Step, alone, events_of, find, record, report
from schemas import ids, metrics
from schemas.asset import IngestRecord, IngestRequest, ObjectKind, Output, Ref, Source, StepResult, StepRun, Work
from schemas.base import Model
from schemas.errors import AssetError, State
from schemas.events import CloudEvent
from schemas.outcome import Codec, Outcome
from schemas.pipelines import Pipeline
from schemas.structs import Received, received
from schemas.trace import traceparent

VERSION = "1"
LIMITED = ("video", "audio", "image", "document")
UNKNOWN_TYPE = "application/octet-stream"
CODEC: Codec[Received] = Codec(lambda event: event.raw, received)


class Claim(Model):
    """Who an asset id belongs to: created only if absent, so the first submission stands."""

    asset_id: str
    payload: str
    event_id: str
    accepted_ms: int


class JobClaim(Model):
    """The first event that asked for this asset under this version of the pipeline, and where it found the bytes."""

    job_id: str
    event_id: str
    accepted_ms: int
    source: Source
    sidecars: tuple[Source, ...] = ()


def tombstone_key(tenant: str, asset_id: str) -> str:
    """The record that stands for a deleted asset, for good."""
    return f"tombstones/{tenant}/{asset_id}.json"


def original_key(tenant: str, sha256: str, asset_id: str) -> str:
    """The record that this asset has this original, so that one asset's policy does not take another's bytes."""
    return f"originals/{tenant}/{sha256}/{asset_id}.json"


def limit_of(pipeline: Pipeline) -> int:
    """The most bytes that a source may have, whatever its kind turns out to be."""
    return max(pipeline.limits.bytes_of(kind) for kind in LIMITED)


async def run(services: Services, received: Received) -> Outcome[Work]:
    """From an ingest event to work with its original stored.

    Raises unknown_pipeline, deleted, idempotency_conflict, and what reading the source raises.
    """
    event = received.event()
    request = event.data
    pipeline = services.pipelines.get(request.pipeline)
    if pipeline is None:
        raise AssetError("unknown_pipeline", request.pipeline)
    if await services.store.get(tombstone_key(request.tenant, request.asset_id)) is not None:
        raise AssetError("deleted", request.asset_id)
    record, first = await accept(services, event, pipeline)
    work = Work(record=record, pipeline=pipeline)
    return await fetched(services, work, request) if first else Outcome(None, state=State.DUPLICATE)


async def accept(services: Services, event: CloudEvent[IngestRequest], pipeline: Pipeline) -> tuple[IngestRecord, bool]:
    """The ingest record, and whether this event is the one that the job belongs to (or replays it).

    The record names the first event and its source: a file that was moved since is no other asset.
    """
    request, now = event.data, services.clock_ms()
    asset = request.asset_id
    mine = Claim(asset_id=asset, payload=request.payload_digest, event_id=event.id, accepted_ms=now)
    claim = Claim.model_validate_json(await services.store.create(
        f"claims/{request.tenant}/{asset}.json", mine.model_dump_json().encode()
    ))  # fmt: skip
    if claim.payload != mine.payload:
        raise AssetError("idempotency_conflict", f"key {request.idempotency_key!r}")
    job = ids.job_id(asset, pipeline.fingerprint)
    wanted = JobClaim(job_id=job, event_id=event.id, accepted_ms=now, source=request.source, sidecars=request.sidecars)
    standing = JobClaim.model_validate_json(await services.store.create(
        f"jobs/{request.tenant}/{asset}/{job}.json", wanted.model_dump_json().encode()
    ))  # fmt: skip
    record = IngestRecord(
        asset_id=asset, job_id=job, event_id=standing.event_id, accepted_ms=standing.accepted_ms,
        request=request.model_copy(update={"source": standing.source, "sidecars": standing.sidecars}),
        traceparent=traceparent(event.traceparent, event.id),
    )  # fmt: skip
    return record, standing.event_id == event.id or bool(request.replay_of)


async def fetched(services: Services, work: Work, request: IngestRequest) -> Outcome:
    """The work with its original and the sidecars in the store; bytes that are there already are not read again.

    A video's first seconds are published beside the fetch, and adopted once the digest is known.
    """
    standing = work.record.request
    named = {"fetch": standing.source, **{f"sidecar-{i}": one for i, one in enumerate(standing.sidecars)}}
    original, *others = [Step("ingest", n, VERSION, (_identity(work.record, s),)) for n, s in named.items()]
    run, shown = await _original(services, work, original, request.source)
    runs = [run]
    for step, source in zip(others, request.sidecars, strict=True):
        limit = work.pipeline.limits.sidecar_bytes
        runs.append(await _brought(services, work, step, partial(fetch, services, work, step, source, limit)))
    ref = Ref(**run.result.outputs[0].model_dump(include={"sha256", "bytes", "media_type"}))
    work = work.with_steps(*runs, original=ref)
    adopted, told = await first.adopted(services, work, shown)
    return Outcome(work.with_steps(*adopted), events=(*events_of(services, work, runs), *told))


async def _original(services: Services, work: Work, step: Step, source: Source) -> tuple[StepRun, first.Found]:
    """The fetch, and what was published of a video beside it."""
    shown: first.Found = None

    async def bring() -> StepResult:
        nonlocal shown
        limit = limit_of(work.pipeline)
        async with first.beside(services, work, source, limit) as showing:
            result = await fetch(services, work, step, source, limit)
            shown = await showing
        return result

    return await _brought(services, work, step, bring), shown


async def _brought(services: Services, work: Work, step: Step, bring: Callable[[], Awaitable[StepResult]]) -> StepRun:
    """The step's record if its object is there, else what is brought now."""
    report(services, work, step, State.PROCESSING)
    async with alone(work.tenant, [step]):
        found = await find(services, work.tenant, step)
        there = found is not None and await services.store.exists(work.tenant, found.outputs[0].sha256)
        result = found if there and found else await bring()
    run = StepRun(result=result, cached=there)
    report(services, work, step, State.COMPLETED, run)
    await services.store.create(original_key(work.tenant, result.outputs[0].sha256, work.asset_id), b"{}")
    return run


async def fetch(services: Services, work: Work, step: Step, source: Source, limit: int) -> StepResult:
    """Brings a source into the store, and records its digest. Raises source_changed if not as announced."""
    started = time.monotonic()
    bring = _uploaded if source.stored else _streamed
    ref = await bring(services, work.tenant, source, limit)
    metrics.BYTES.labels("taken").inc(ref.bytes)
    if source.sha256 not in ("", ref.sha256):
        raise AssetError("source_changed", source.name)
    name, role = ("original", "original") if step.name == "fetch" else (step.name, "sidecar")
    output = Output(**ref.model_dump(), name=name, role=role)
    seconds = round(time.monotonic() - started, 4)
    result = await record(services, work.tenant, step, Made(), seconds, [output])
    if result.outputs[0].sha256 != ref.sha256:
        raise AssetError("source_changed", f"{source.name} under the same validator")
    return result


async def _streamed(services: Services, tenant: str, source: Source, limit: int) -> Ref:
    async with aclosing(services.fetch(source, limit)) as chunks:
        return await services.store.add_stream(tenant, chunks, UNKNOWN_TYPE, limit, ObjectKind.ORIGINAL)


async def _uploaded(services: Services, tenant: str, source: Source, limit: int) -> Ref:
    """What a producer has put into the store stays as it is; whoever reads it compares its digest."""
    size = await services.store.size(tenant, source.stored)
    if size is None:
        raise AssetError("source_missing", f"there is no object {source.stored}")
    if size > limit:
        raise AssetError("too_large", f"{size} bytes, the limit is {limit}")
    if not size:
        raise AssetError("empty_file")
    return Ref(sha256=source.stored, bytes=size, media_type=UNKNOWN_TYPE)


def _identity(record_: IngestRecord, source: Source) -> str:
    """What a source's bytes depend on: a URL without a validator is read once a job."""
    return source.identity if source.sha256 or source.validator else f"{source.identity}#{record_.job_id}"
