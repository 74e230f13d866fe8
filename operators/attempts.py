"""Runs one item of a stage to its end: its attempts, their events, and the pauses between them."""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from operators.gate import Gate
from operators.loop import Loop
from schemas.errors import OUTAGES, AssetError, State, as_asset_error
from schemas.events import Attempt, StatusChanged
from schemas.outcome import Codec, Failed, Outcome, Subject

_TRACEBACK_CHARS = 8000
_MOST_BACKOFF_S = 10.0
_MOST_DOUBLINGS = 16


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Stage:
    """What a stage runs, and how.

    `run(item, attempt)` is awaited on the loop; it is cancelled `timeout_s` seconds after its start, and must
    then end what it started elsewhere. A transient error (AssetError.transient, or any unknown exception) is
    tried again after a backoff of 0.5 to 1 times `backoff_s * 2 ** (attempt - 1)` seconds, 10 s at most, until
    `attempts` have failed; while a service of ours is away (AssetError.outage), for `patience_s` seconds.
    `on_event` gets the stage's own events at once, on the loop's thread, ahead of the stream; after a crash it
    gets some again, with the same ids. Its steps' events are for `run` to tell as they happen.
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
    patience_s: float = 0.0
    clock: Callable[[], int] = now_ms
    on_event: Callable[[StatusChanged], None] | None = None


@dataclass(eq=False)
class Job:
    """An item in hand; changed by the dataflow's thread only, so that snapshots match what was emitted.

    `over` says that its last failure was the final one.
    """

    key: str
    item: Any
    failures: tuple[Attempt, ...] = ()
    not_before_ms: int = 0
    over: bool = False
    text: str = ""
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True)
class Retry:
    """The next attempt is to come."""

    failures: tuple[Attempt, ...]
    not_before_ms: int


@dataclass
class Decided:
    """A failure that another run of the job might not come to; told once so many `snapshots` have it."""

    event: StatusChanged
    failed: Failed[Any]
    snapshots: int = 0


Post = StatusChanged | Retry | Decided | Outcome[Any] | Failed[Any] | BaseException


@dataclass
class Runner:
    """Runs jobs on the loop's thread; what becomes of them is appended to `posts`."""

    stage: Stage
    posts: deque[tuple[Job, Post]] = field(default_factory=deque)

    def start(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            job.task = asyncio.ensure_future(self._drive(job))
            job.task.add_done_callback(partial(self._surface, job))

    def _surface(self, job: Job, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self.posts.append((job, error))

    async def _drive(self, job: Job) -> None:
        failures, not_before_ms, away_since = job.failures, job.not_before_ms, None
        if job.over:
            return self._fail(job, AssetError(failures[-1].code, failures[-1].detail), failures, 0.0)
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
                away_since = (away_since or started) if error.outage else None
                if not self._again(error, failures, away_since):
                    return self._fail(job, error, failures, took)
                not_before_ms = self._retry(job, error, failures)
            else:
                return self._succeed(job, outcome, number, time.monotonic() - started)

    def _again(self, error: AssetError, failures: tuple[Attempt, ...], away_since: float | None) -> bool:
        """Whether to try once more. With patience, an outage costs none of the attempts."""
        patience_s = self.stage.patience_s
        if patience_s and away_since is not None:
            return time.monotonic() - away_since < patience_s
        counted = [each for each in failures if not patience_s or each.code not in OUTAGES]
        return error.transient and len(counted) < self.stage.attempts

    async def _attempt(self, item: Any, number: int) -> Outcome[Any]:
        task = asyncio.current_task()
        assert task is not None
        try:
            async with asyncio.timeout(self.stage.timeout_s) as deadline:
                with self.stage.gate.pulse.attempt(self.stage.name, self.stage.timeout_s):
                    return await self.stage.run(item, number)
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise AssetError("deadline_exceeded", f"{self.stage.timeout_s:g} s") from error
        except asyncio.CancelledError as error:
            if task.cancelling():
                raise
            raise AssetError("internal", "the work was cancelled from within") from error

    def _succeed(self, job: Job, outcome: Outcome[Any], number: int, took: float) -> None:
        self.posts.extend((job, event) for event in outcome.events)
        self._event(job, outcome.state, number, duration_s=took)
        self.posts.append((job, outcome))

    def _fail(self, job: Job, error: AssetError, failures: tuple[Attempt, ...], took: float) -> None:
        event = self._told(job, error.state, len(failures), code=error.code, detail=error.detail, duration_s=took)
        failed = Failed(job.item, self.stage.name, error.code, error.detail, failures)
        if error.transient:  # another run of the same work might succeed, so that the asset would end twice
            self.posts.append((job, Decided(event, failed)))
        else:
            self.posts.extend(((job, event), (job, failed)))

    def _retry(self, job: Job, error: AssetError, failures: tuple[Attempt, ...]) -> int:
        doubled = self.stage.backoff_s * 2 ** min(len(failures) - 1, _MOST_DOUBLINGS)
        backoff_s = min(doubled, _MOST_BACKOFF_S) * random.uniform(0.5, 1)
        not_before_ms = self.stage.clock() + int(backoff_s * 1000)
        self._event(job, State.PENDING, len(failures) + 1, code=error.code, detail=error.detail)
        self.posts.append((job, Retry(failures, not_before_ms)))
        return not_before_ms

    def _event(self, job: Job, state: State, attempt: int, **rest: Any) -> None:
        self.posts.append((job, self._told(job, state, attempt, **rest)))

    def _told(self, job: Job, state: State, attempt: int, **rest: Any) -> StatusChanged:
        about = self.stage.describe(job.item)._asdict()
        rest |= {"stage": self.stage.name, "attempt": attempt, "at_ms": self.stage.clock()}
        event = StatusChanged.of(**about, state=state, **rest)
        if self.stage.on_event:
            self.stage.on_event(event)
        return event


def _attempt(number: int, error: AssetError, exception: Exception) -> Attempt:
    lines = [] if error.outage else traceback.format_exception(exception)  # there may be hundreds of them
    text = "".join(lines)[-_TRACEBACK_CHARS:]
    return Attempt(number=number, code=error.code, detail=error.detail, step=error.step, traceback=text)
