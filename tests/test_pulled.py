"""A source over a transport's partitions: when it commits what, and what it gives back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from flow_fixtures import Bench, Item, loop  # noqa: F401

from operators.gate import Gate
from operators.stage import stage
from schemas.messages import Message
from schemas.outcome import Outcome
from sources.finished import Finished
from sources.pulled import PulledSource
from sources.watermark import Watermark


@dataclass
class LeasedQueue:
    """A queue in memory, as a service with leases is one: what is not acknowledged is delivered again."""

    count: int
    gate: Gate
    started: list[int | None] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    given_back: list[int | None] = field(default_factory=list)
    following: int = 0

    @property
    def position(self) -> int:
        return self.following

    def start(self, offset: int | None) -> None:
        self.started.append(offset)
        self.following = offset or 0

    def pull(self) -> list[Message]:
        if self.following >= self.count:
            if not self.gate.unfinished and self.done and self.done[-1] == self.count:
                self.gate.drain()
            return []
        self.following += 1
        return [Message("queue", 0, self.following - 1, None, b"", {})]

    def committed(self, offset: int) -> None:
        self.acknowledged.append(offset)

    def finished(self, finished: Finished) -> None:
        self.done.append(finished.offset)

    def retry(self, offset: int | None, delay_s: float) -> None:
        self.given_back.append(offset)

    def close(self) -> None:
        pass


def flow_of(queue: LeasedQueue, bench: Bench, waiting: set[str]) -> Dataflow:
    mark = Watermark(lambda: bench.gate.holds() | waiting, bench.gate.watch())
    flow = Dataflow("pulled")
    source = PulledSource({"queue-0": lambda: queue}, bench.gate, {"queue-0": mark})

    def read(batch: list[Message]) -> list[tuple[str, Item]]:
        mark.hold([(message.offset, f"asset-{message.offset}") for message in batch])
        return [(f"asset-{m.offset}", Item(name=f"asset-{m.offset}", n=m.offset)) for m in batch]

    bench.collect(stage("work", op.flat_map_batch("read", op.input("in", flow, source), read), bench.stage()))
    return flow


def test_what_is_finished_trails_what_is_committed(tmp_path, loop):  # noqa: F811
    """A slow item holds the watermark at its offset while later ones are acknowledged; at last all is finished."""

    async def run(item: Item, attempt: int) -> Outcome[Item]:
        if item.n == 3:
            await asyncio.sleep(0.8)
        return Outcome(item)

    init_db_dir(tmp_path, 1)
    bench = Bench(loop, run)
    queue = LeasedQueue(10, bench.gate)
    flow = flow_of(queue, bench, set())
    run_main(flow, epoch_interval=timedelta(milliseconds=50), recovery_config=RecoveryConfig(tmp_path))
    assert len(bench.oks) == 10 and queue.done == sorted(queue.done) and queue.done[-1] == 10
    assert 3 in queue.done and not {4, 5, 6, 7, 8, 9} & set(queue.done)
    assert queue.acknowledged[queue.done.index(3) + 2] == 10


def test_a_sink_that_waits_holds_the_watermark(loop):  # noqa: F811
    """An asset with rows that no table has yet is unfinished, whatever the stages say."""
    waiting: set[str] = {"asset-1"}
    mark = Watermark(lambda: waiting, set())
    mark.hold([(offset, f"asset-{offset}") for offset in range(4)])
    assert [mark.close_epoch(4) for _ in range(3)] == [Finished(0), Finished(1, 4, (1,)), Finished(1, 4, (1,))]
    waiting.clear()
    assert mark.close_epoch(4) == Finished(4)


def test_work_that_was_brought_back_is_waited_for(loop):  # noqa: F811
    """While a recovery store's work is unfinished, whose offsets nobody knows, nothing counts as finished."""
    waiting = {"old"}
    mark = Watermark(lambda: waiting, set())
    mark.hold([(7, "a")])
    assert [mark.close_epoch(8) for _ in range(3)] == [None] * 3
    waiting.clear()
    assert mark.close_epoch(8) == Finished(8)


def test_what_left_a_stage_in_an_epoch_counts_one_epoch_longer(loop):  # noqa: F811
    """Between two stages an item is in neither: it is finished only after an epoch in which nothing moved it."""
    left: set[str] = set()
    mark = Watermark(set, left)
    mark.hold([(7, "a"), (8, "b"), (9, "a")])
    assert mark.close_epoch(10) == Finished(7)
    left.add("a")
    assert mark.close_epoch(10) == Finished(7, 10, (7, 9))
    assert mark.close_epoch(10) == Finished(10)


def test_a_full_gate_stops_the_source_but_not_its_commits(tmp_path, loop):  # noqa: F811
    """No more than the gate's limit is pulled while nothing ends, and epochs go on being acknowledged."""

    async def run(item: Item, attempt: int) -> Outcome[Item]:
        await asyncio.sleep(0.4)
        return Outcome(item)

    bench = Bench(loop, run, gate=Gate(2))
    most: list[int] = []
    queue = LeasedQueue(6, bench.gate)
    pull = queue.pull

    def counted() -> list[Message]:
        most.append(bench.gate.unfinished)
        return pull()

    queue.pull = counted  # type: ignore[method-assign]
    run_main(flow_of(queue, bench, set()), epoch_interval=timedelta(milliseconds=50))
    assert len(bench.oks) == 6 and max(most) <= 2


@pytest.mark.parametrize("keep", [True, False])
def test_a_drained_source_gives_back_and_resumes(tmp_path, loop, keep):  # noqa: F811
    """Draining leaves work in the recovery store and the next run goes on after it; without one it starts anew."""
    for name in "ab":
        (tmp_path / name).mkdir()
        init_db_dir(tmp_path / name, 1)
    ran: list[int] = []
    blocked = True

    async def run(item: Item, attempt: int) -> Outcome[Item]:
        ran.append(item.n)
        if blocked:
            bench.gate.drain()
            await asyncio.sleep(3600)
        return Outcome(item)

    def go(folder: Any) -> LeasedQueue:
        queue = LeasedQueue(3, bench.gate)
        flow = flow_of(queue, bench, set())
        run_main(flow, epoch_interval=timedelta(milliseconds=50), recovery_config=RecoveryConfig(folder))
        return queue

    bench = Bench(loop, run)
    first = go(tmp_path / "a")
    assert bench.oks == [] and len(first.given_back) == 1
    blocked, bench.gate = False, Gate(64)
    second = go(tmp_path / ("a" if keep else "b"))
    assert second.started == [first.following if keep else None]
    assert sorted(item.n for item in bench.oks) == [0, 1, 2]
