"""Steps: each computed once for its inputs, version and parameters, then found by its result id."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from operators.stages.services import Services
from schemas import ids, metrics
from schemas.asset import ObjectKind, Output, StepResult, StepRun, Work
from schemas.base import Model
from schemas.errors import CODES, State, as_asset_error
from schemas.events import StatusChanged

_at_work: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()


@dataclass(frozen=True)
class Step:
    """What decides a step's result: `inputs` are content digests in order, `version` rises when its code changes."""

    stage: str
    name: str
    version: str
    inputs: tuple[str, ...]
    params: Mapping[str, Any] = field(default_factory=dict)

    def result_id(self, tenant: str) -> str:
        """The key under which the first result stands."""
        return ids.result_id(tenant, self.inputs, self.stage, self.name, self.version, dumped(self.params))


@dataclass(frozen=True)
class File:
    """A file that a step made, before it is stored."""

    name: str
    role: str
    path: Path
    media_type: str
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """What a step's computation gives: files in its scratch folder, small values, and a note's code or ""."""

    files: Sequence[File] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""


def dumped(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with their models as plain JSON values."""
    return {k: v.model_dump(mode="json") if isinstance(v, Model) else v for k, v in params.items()}


@contextmanager
def scratch_folder(services: Services) -> Iterator[Path]:
    """A folder of its own for one computation, removed at the end."""
    services.scratch.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=services.scratch))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def alone(tenant: str, steps: Iterable[Step]) -> AsyncIterator[None]:
    """Holds these steps' results in this process: whoever wants one of them too waits, and then finds it."""
    async with AsyncExitStack() as stack:
        for result_id in sorted({step.result_id(tenant) for step in steps}):
            await stack.enter_async_context(_at_work.setdefault(result_id, asyncio.Lock()))
        yield


async def once(
    services: Services, work: Work, step: Step, compute: Callable[[Path], Awaitable[Made]], quiet: bool = False
) -> StepRun:
    """The step's result: found, or computed now and recorded. Of two at once the first record stands."""

    async def only(_missing: Sequence[Step], scratch: Path) -> dict[str, Made]:
        return {step.name: await compute(scratch)}

    return (await together(services, work, [step], only, quiet))[0]


async def together(
    services: Services,
    work: Work,
    steps: Sequence[Step],
    compute: Callable[[Sequence[Step], Path], Awaitable[dict[str, Made]]],
    quiet: bool = False,
) -> list[StepRun]:
    """Several steps that share one pass over the input: `compute` makes only those that are missing, by name.

    `quiet` steps (chunks) do not report their progress.
    """
    async with alone(work.tenant, steps):
        found = [await find(services, work.tenant, step) for step in steps]
        missing = [step for step, result in zip(steps, found, strict=True) if result is None]
        for step in missing:
            report(services, work, step, State.PROCESSING, quiet=quiet)
        stored = await _made(services, work, missing, compute) if missing else {}
    now = services.clock_ms()
    runs = [
        StepRun(result=r or stored[s.name], cached=r is not None, at_ms=now) for s, r in zip(steps, found, strict=True)
    ]
    for step, run in zip(steps, runs, strict=True):
        report(services, work, step, run.result.state, run, quiet)
    return runs


async def _made(
    services: Services,
    work: Work,
    missing: Sequence[Step],
    compute: Callable[[Sequence[Step], Path], Awaitable[dict[str, Made]]],
) -> dict[str, StepResult]:
    started = time.monotonic()
    with scratch_folder(services) as scratch, _named(missing):
        made = await compute(missing, scratch)
        seconds = round(time.monotonic() - started, 4)
        return {s.name: await record(services, work.tenant, s, made[s.name], seconds) for s in missing}


@contextmanager
def _named(steps: Sequence[Step]) -> Iterator[None]:
    """An error says in which of a stage's steps it happened."""
    try:
        yield
    except Exception as exception:
        error = as_asset_error(exception)
        error.step = error.step or ", ".join(step.name for step in steps)
        if error is exception:
            raise
        raise error from exception


def result_key(tenant: str, result_id: str) -> str:
    """Where a step's record lies."""
    return f"results/{tenant}/{result_id[:2]}/{result_id}.json"


async def find(services: Services, tenant: str, step: Step) -> StepResult | None:
    """The recorded result, if there is one."""
    data = await services.store.get(result_key(tenant, step.result_id(tenant)))
    return None if data is None else StepResult.model_validate_json(data)


async def record(
    services: Services, tenant: str, step: Step, made: Made, seconds: float, outputs: Sequence[Output] = ()
) -> StepResult:
    """Stores the files by content (`outputs` are stored already), then the record if absent; returns what stands."""
    stored = [await _store(services, tenant, file) for file in made.files]
    result = StepResult(
        result_id=step.result_id(tenant), stage=step.stage, step=step.name, version=step.version,
        params=dumped(step.params), inputs=step.inputs, outputs=(*outputs, *stored), values=dict(made.values),
        state=CODES[made.code].state if made.code else State.COMPLETED, code=made.code, duration_s=seconds,
    )  # fmt: skip
    standing = await services.store.create(result_key(tenant, result.result_id), result.model_dump_json().encode())
    return StepResult.model_validate_json(standing)


async def _store(services: Services, tenant: str, file: File) -> Output:
    ref = await services.store.add_file(tenant, file.path, file.media_type, ObjectKind.of(file.role))
    metrics.BYTES.labels("made").inc(ref.bytes)
    return Output(**ref.model_dump(), name=file.name, role=file.role, properties=dict(file.properties))


def skipped(work: Work, step: Step, code: str) -> StepRun:
    """A step that was not done, and why; nothing is recorded, so that it is done once it can be."""
    result = StepResult(
        result_id=step.result_id(work.tenant), stage=step.stage, step=step.name, version=step.version,
        params=dumped(step.params), inputs=step.inputs, state=State.SKIPPED, code=code,
    )  # fmt: skip
    return StepRun(result=result)


def status(work: Work, stage: str, step: str, state: State, **rest: Any) -> StatusChanged:
    """A status event of this work."""
    record = work.record
    return StatusChanged.of(
        asset_id=record.asset_id, job_id=record.job_id, tenant=work.tenant, stage=stage, step=step, state=state,
        generation=record.request.generation, accepted_ms=record.accepted_ms, traceparent=record.traceparent, **rest,
    )  # fmt: skip


def done(services: Services, work: Work, stage: str, step: str, started: float, detail: str = "") -> StatusChanged:
    """The event of a step that ended just now, having begun at `started` (time.monotonic); told at once."""
    took = round(time.monotonic() - started, 4)
    event = status(work, stage, step, State.COMPLETED, duration_s=took, detail=detail, at_ms=services.clock_ms())
    services.on_event(event)
    return event


def events_of(services: Services, work: Work, runs: Sequence[StepRun]) -> tuple[StatusChanged, ...]:
    """The steps' final status events, for the tables."""
    return tuple(
        status(
            work, r.result.stage, r.result.step, r.result.state, code=r.result.code, cached=r.cached,
            duration_s=r.result.duration_s, result_id=r.result.result_id, at_ms=r.at_ms or services.clock_ms(),
        )
        for r in runs
    )  # fmt: skip


def report(
    services: Services, work: Work, step: Step, state: State, run: StepRun | None = None, quiet: bool = False
) -> None:
    """Live progress, for people; the durable events leave with the stage's outcome."""
    if quiet:
        return
    rest: dict[str, Any] = {"at_ms": services.clock_ms()}
    if run is not None:
        rest |= {"cached": run.cached, "duration_s": run.result.duration_s, "code": run.result.code}
    services.on_event(status(work, step.stage, step.name, state, **rest))
