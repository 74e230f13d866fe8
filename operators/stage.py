"""The one operator for long-running work: runs items beside the dataflow, emits what became of them.

An item is held by one of a fixed set of shards until it ends, and a shard's held items are its snapshot: a
crash starts them again, with the same attempt number. So `run` runs at least once, and must be idempotent.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from operators.attempts import Decided, Job, Retry, Runner, Stage
from schemas.events import Attempt, StatusChanged
from schemas.ids import shard_of
from schemas.outcome import Failed, Outcome, Row

_FIRST_POLL_S, _LAST_POLL_S, _POLL_SHARE = 0.001, 0.025, 0.1
# the source begins an epoch once the one before is committed: a second snapshot says that the first one is durable
_DURABLE = 2

Emission = tuple[str, StatusChanged | Outcome[Any] | Failed[Any]]


@dataclass(frozen=True)
class StageOut:
    """A stage's streams, all with the keys of the items they came from.

    `events` has the stage's changes of state, the final one included, and the steps' events before it.
    """

    oks: KeyedStream[Any]
    errs: KeyedStream[Failed[Any]]
    events: KeyedStream[StatusChanged]
    rows: KeyedStream[Row]


class _Shard(StatefulBatchLogic[tuple[str, Any], Emission, bytes]):
    """One shard's items in hand; never discarded, since every discarded key stays in the recovery store."""

    def __init__(self, stage: Stage, state: bytes | None) -> None:
        self._stage, self._runner = stage, Runner(stage)
        self._jobs: dict[Job, None] = {}
        self._decided: dict[Job, Decided] = {}
        self._active = time.monotonic()
        self._accept(_restore(stage, state) if state else [])

    def _accept(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._jobs[job] = None
            self._stage.gate.enter(job.key)
        if jobs and not self._stage.gate.draining:
            self._active = time.monotonic()
            self._stage.loop.call(self._runner.start, jobs)

    def on_batch(self, values: list[tuple[str, Any]]) -> tuple[list[Emission], bool]:
        self._accept([Job(key, item) for key, item in values])
        return self._poll(), False

    def on_notify(self) -> tuple[list[Emission], bool]:
        return self._poll(), False

    def on_eof(self) -> tuple[list[Emission], bool]:
        """No notification comes after this: waits for the rest; when draining leaves it in the snapshot."""
        emitted = self._poll(last=not self._stage.gate.draining)
        while self._jobs and not self._stage.gate.draining:
            if not self._stage.loop.running:
                raise RuntimeError("the stages' loop ended before its work")
            time.sleep(_FIRST_POLL_S)
            emitted += self._poll(last=True)
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

    def _poll(self, last: bool = False) -> list[Emission]:
        emitted: list[Emission] = []
        while self._runner.posts:
            job, post = self._runner.posts.popleft()
            if isinstance(post, BaseException):
                raise post
            if isinstance(post, Retry):
                job.failures, job.not_before_ms, job.text = post.failures, post.not_before_ms, ""
            elif isinstance(post, Decided):
                job.failures, job.over, job.text = post.failed.attempts, True, ""
                self._decided[job] = post
            else:
                emitted.append((job.key, post))
                if not isinstance(post, StatusChanged):
                    self._leave(job)
        return emitted + self._told(last)

    def _told(self, last: bool) -> list[Emission]:
        emitted: list[Emission] = []
        for job, decided in list(self._decided.items()):
            if last or decided.snapshots >= _DURABLE:
                emitted += [(job.key, decided.event), (job.key, decided.failed)]
                del self._decided[job]
                self._leave(job)
        return emitted

    def _leave(self, job: Job) -> None:
        del self._jobs[job]
        self._stage.gate.leave(job.key)

    def snapshot(self) -> bytes:
        for decided in self._decided.values():
            decided.snapshots += 1
        return ("[" + ",".join(self._text(job) for job in self._jobs) + "]").encode()

    def _text(self, job: Job) -> str:
        if not job.text:
            failures = [attempt.model_dump(mode="json") for attempt in job.failures]
            item = self._stage.codec.encode(job.item).decode()
            job.text = json.dumps([job.key, item, failures, job.not_before_ms, job.over])
        return job.text


def _restore(stage: Stage, state: bytes) -> list[Job]:
    return [
        Job(key, stage.codec.decode(item.encode()), tuple(Attempt(**each) for each in failures), not_before_ms, over)
        for key, item, failures, not_before_ms, over in json.loads(state)
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
