"""The one operator for long-running work: runs items beside the dataflow, emits what became of them.

An item is held by one of a fixed set of shards until it ends, and a shard's held items are its snapshot: a
crash starts them again, with the same attempt number. So `run` runs at least once, and must be idempotent.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from operators.gate import Gate
from operators.loop import Loop
from schemas.errors import AssetError, State, as_asset_error
from schemas.events import Attempt, StatusChanged
from schemas.ids import shard_of
from schemas.outcome import Codec, Failed, Outcome, Row, Subject

_FIRST_POLL_S, _LAST_POLL_S, _POLL_SHARE = 0.001, 0.025, 0.1
_TRACEBACK_CHARS = 8000

Emission = tuple[str, StatusChanged | Outcome[Any] | Failed[Any]]


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Stage:
    """What a stage runs, and how.

    `run(item, attempt)` is awaited on the loop; it is cancelled `timeout_s` seconds after its start, and must
    then end what it started elsewhere. A transient error (AssetError.transient, or any unknown exception) is
    tried again after a backoff of 0.5 to 1 times `backoff_s * 2 ** (attempt - 1)` seconds, until `attempts`
    have failed. `on_event` gets the stage's own events at once, on the loop's thread, ahead of the stream;
    after a crash it gets some again, with the same ids. Its steps' events are for `run` to tell as they happen.
    """

    name: str
    run: Callable[[Any, int], Awaitable[Outcome[Any]]]
    codec: Codec[Any]
    describe: Callable[[Any], Subject]
    loop: Loop
    gate: Gate
    timeout_s: float = 1800.0
    attempts: int = 3
    backoff_s: float = 0.5
    clock: Callable[[], int] = now_ms
    on_event: Callable[[StatusChanged], None] | None = None


@dataclass(frozen=True)
class StageOut:
    """A stage's streams, all with the keys of the items they came from.

    `events` has the stage's changes of state, the final one included, and the steps' events before it.
    """

    oks: KeyedStream[Any]
    errs: KeyedStream[Failed[Any]]
    events: KeyedStream[StatusChanged]
    rows: KeyedStream[Row]


@dataclass(eq=False)
class _Job:
    """An item in hand; changed by the dataflow's thread only, so that snapshots match what was emitted."""

    key: str
    item: Any
    failures: tuple[Attempt, ...] = ()
    not_before_ms: int = 0
    text: str = ""
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True)
class _Retry:
    failures: tuple[Attempt, ...]
    not_before_ms: int


_Post = StatusChanged | _Retry | Outcome[Any] | Failed[Any] | BaseException


@dataclass
class _Runner:
    """Runs jobs on the loop's thread; what becomes of them is appended to `posts`."""

    stage: Stage
    posts: deque[tuple[_Job, _Post]] = field(default_factory=deque)

    def start(self, jobs: Iterable[_Job]) -> None:
        for job in jobs:
            job.task = asyncio.ensure_future(self._drive(job))
            job.task.add_done_callback(partial(self._surface, job))

    def _surface(self, job: _Job, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self.posts.append((job, error))

    async def _drive(self, job: _Job) -> None:
        failures, not_before_ms = job.failures, job.not_before_ms
        while True:
            await asyncio.sleep(max(0, not_before_ms - self.stage.clock()) / 1000)
            number, started = len(failures) + 1, time.monotonic()
            self._event(job, State.PROCESSING, number)
            try:
                outcome = await self._attempt(job.item, number)
            except Exception as exception:
                took = time.monotonic() - started
                error = as_asset_error(exception)
                failures = (*failures, _attempt(number, error, exception))
                if not error.transient or number >= self.stage.attempts:
                    return self._fail(job, error, failures, took)
                not_before_ms = self._retry(job, error, failures)
            else:
                return self._succeed(job, outcome, number, time.monotonic() - started)

    async def _attempt(self, item: Any, number: int) -> Outcome[Any]:
        task = asyncio.current_task()
        assert task is not None
        try:
            async with asyncio.timeout(self.stage.timeout_s) as deadline:
                return await self.stage.run(item, number)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise AssetError("deadline_exceeded", f"{self.stage.timeout_s:g} s") from error
        except asyncio.CancelledError as error:
            if task.cancelling():
                raise
            raise AssetError("internal", "the work was cancelled from within") from error

    def _succeed(self, job: _Job, outcome: Outcome[Any], number: int, took: float) -> None:
        self.posts.extend((job, event) for event in outcome.events)
        self._event(job, outcome.state, number, duration_s=took)
        self.posts.append((job, outcome))

    def _fail(self, job: _Job, error: AssetError, failures: tuple[Attempt, ...], took: float) -> None:
        self._event(job, error.state, len(failures), code=error.code, detail=error.detail, duration_s=took)
        self.posts.append((job, Failed(job.item, self.stage.name, error.code, error.detail, failures)))

    def _retry(self, job: _Job, error: AssetError, failures: tuple[Attempt, ...]) -> int:
        backoff_s = self.stage.backoff_s * 2 ** (len(failures) - 1) * random.uniform(0.5, 1)
        not_before_ms = self.stage.clock() + int(backoff_s * 1000)
        self._event(job, State.PENDING, len(failures) + 1, code=error.code, detail=error.detail)
        self.posts.append((job, _Retry(failures, not_before_ms)))
        return not_before_ms

    def _event(self, job: _Job, state: State, attempt: int, **rest: Any) -> None:
        about = self.stage.describe(job.item)._asdict()
        rest |= {"stage": self.stage.name, "attempt": attempt, "at_ms": self.stage.clock()}
        event = StatusChanged.of(**about, state=state, **rest)
        self.posts.append((job, event))
        if self.stage.on_event:
            self.stage.on_event(event)


def _attempt(number: int, error: AssetError, exception: Exception) -> Attempt:
    text = "".join(traceback.format_exception(exception))[-_TRACEBACK_CHARS:]
    return Attempt(number=number, code=error.code, detail=error.detail, traceback=text)


class _Shard(StatefulBatchLogic[tuple[str, Any], Emission, bytes]):
    """One shard's items in hand; never discarded, since every discarded key stays in the recovery store."""

    def __init__(self, stage: Stage, state: bytes | None) -> None:
        self._stage, self._runner = stage, _Runner(stage)
        self._jobs: dict[_Job, None] = {}
        self._active = time.monotonic()
        self._accept(_restore(stage, state) if state else [])

    def _accept(self, jobs: list[_Job]) -> None:
        for job in jobs:
            self._jobs[job] = None
            self._stage.gate.enter(job.key)
        if jobs and not self._stage.gate.draining:
            self._active = time.monotonic()
            self._stage.loop.call(self._runner.start, jobs)

    def on_batch(self, values: list[tuple[str, Any]]) -> tuple[list[Emission], bool]:
        self._accept([_Job(key, item) for key, item in values])
        return self._poll(), False

    def on_notify(self) -> tuple[list[Emission], bool]:
        return self._poll(), False

    def on_eof(self) -> tuple[list[Emission], bool]:
        """No notification comes after this: waits for the rest; when draining leaves it in the snapshot."""
        emitted = self._poll()
        while self._jobs and not self._stage.gate.draining:
            if not self._stage.loop.running:
                raise RuntimeError("the stages' loop ended before its work")
            time.sleep(_FIRST_POLL_S)
            emitted += self._poll()
        for job in self._jobs:
            if job.task:
                self._stage.loop.call(job.task.cancel)
        return emitted, False

    def notify_at(self) -> datetime | None:
        """Soon for work just begun, later for long work: after a tenth of the time that it took so far."""
        if not self._jobs:
            return None
        wait = _POLL_SHARE * (time.monotonic() - self._active)
        return datetime.now(UTC) + timedelta(seconds=min(max(wait, _FIRST_POLL_S), _LAST_POLL_S))

    def _poll(self) -> list[Emission]:
        emitted: list[Emission] = []
        while self._runner.posts:
            job, post = self._runner.posts.popleft()
            if isinstance(post, BaseException):
                raise post
            if isinstance(post, _Retry):
                job.failures, job.not_before_ms, job.text = post.failures, post.not_before_ms, ""
                continue
            emitted.append((job.key, post))
            if not isinstance(post, StatusChanged):
                del self._jobs[job]
                self._stage.gate.leave(job.key)
        return emitted

    def snapshot(self) -> bytes:
        return ("[" + ",".join(self._text(job) for job in self._jobs) + "]").encode()

    def _text(self, job: _Job) -> str:
        if not job.text:
            failures = [attempt.model_dump(mode="json") for attempt in job.failures]
            item = self._stage.codec.encode(job.item).decode()
            job.text = json.dumps([job.key, item, failures, job.not_before_ms])
        return job.text


def _restore(stage: Stage, state: bytes) -> list[_Job]:
    return [
        _Job(key, stage.codec.decode(item.encode()), tuple(Attempt(**each) for each in failures), not_before_ms)
        for key, item, failures, not_before_ms in json.loads(state)
    ]


@operator
def stage(step_id: str, up: KeyedStream[Any], config: Stage) -> StageOut:
    """Runs `config.run` on every item, beside the dataflow; see `Stage` and `StageOut`."""
    shards = op.map("shard", up, lambda item: (shard_of(item[0]), item))
    done = op.stateful_batch("run", shards, lambda state: _Shard(config, state))
    return StageOut(
        oks=op.flat_map_batch("oks", done, _oks),
        errs=op.flat_map_batch("errs", done, _errs),
        events=op.flat_map_batch("events", done, _events),
        rows=op.flat_map_batch("rows", done, _rows),
    )


_Done = list[tuple[str, Emission]]


def _oks(batch: _Done) -> list[tuple[str, Any]]:
    return [(k, e.item) for _, (k, e) in batch if isinstance(e, Outcome) and e.item is not None]


def _errs(batch: _Done) -> list[tuple[str, Failed[Any]]]:
    return [(k, e) for _, (k, e) in batch if isinstance(e, Failed)]


def _events(batch: _Done) -> list[tuple[str, StatusChanged]]:
    return [(k, e) for _, (k, e) in batch if isinstance(e, StatusChanged)]


def _rows(batch: _Done) -> list[tuple[str, Row]]:
    return [(k, row) for _, (k, e) in batch if isinstance(e, Outcome) for row in e.rows]
