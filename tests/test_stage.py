"""The stage operator: retries, deadlines, errors, recovery, draining, balance."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax import testing
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource
from flow_fixtures import AT_ONCE, Bench, Item, items, loop, run_flow  # noqa: F401

from operators.gate import Gate
from operators.stage import _Shard, stage
from schemas.errors import AssetError, State
from schemas.events import Attempt, StatusChanged
from schemas.outcome import Outcome

FOREVER_S = 3600
run_main = partial(testing.run_main, epoch_interval=timedelta(milliseconds=50))


def states(bench: Bench, name: str) -> list[tuple[State, int]]:
    return [(e.state, e.attempt) for e in bench.events if e.asset_id == name]


async def double(item: Item, attempt: int) -> Outcome[Item]:
    row = ("rows", {"row_id": item.name})
    step = StatusChanged.of(
        asset_id=item.name, job_id="j", tenant="default", stage="work", step="twice", state=State.COMPLETED
    )
    return Outcome(Item(name=item.name, n=2 * item.n), (step,), (row,))


def test_every_item_passes_with_its_events_and_rows(run_flow, loop):  # noqa: F811
    """Every item, row and event comes out once, a stage's events around its steps'."""
    bench = Bench(loop, double)
    run_flow(bench.flow(items(40)))
    assert sorted(item.n for item in bench.oks) == [2 * n for n in range(40)]
    assert sorted(row["row_id"] for _, row in bench.rows) == sorted(item.name for item in items(40))
    assert [(e.step, e.state) for e in bench.events if e.asset_id == "asset-7"] == [
        ("", State.PROCESSING), ("twice", State.COMPLETED), ("", State.COMPLETED),
    ]  # fmt: skip
    assert bench.errs == [] and bench.gate.unfinished == 0


def test_an_outcome_without_item_ends_there(loop):  # noqa: F811
    """A duplicate is told by its event, and nothing goes on to the next stage."""

    async def known(item: Item, attempt: int) -> Outcome[Item]:
        return Outcome(None, state=State.DUPLICATE)

    bench = Bench(loop, known)
    run_main(bench.flow(items(1)))
    assert bench.oks == [] and states(bench, "asset-0")[-1] == (State.DUPLICATE, 1)


def test_transient_error_then_success(loop):  # noqa: F811
    """A transient error is tried again after telling so with its code, and the second attempt counts."""

    async def flaky(item: Item, attempt: int) -> Outcome[Item]:
        if attempt == 1:
            raise AssetError("store_unavailable", "down")
        return Outcome(item)

    bench = Bench(loop, flaky)
    run_main(bench.flow(items(3)))
    assert len(bench.oks) == 3 and bench.errs == []
    S = State
    assert states(bench, "asset-1") == [
        (S.PROCESSING, 1),
        (S.PENDING, 2),
        (S.PROCESSING, 2),
        (S.COMPLETED, 2),
    ]
    assert {e.code for e in bench.events if e.state is S.PENDING} == {"store_unavailable"}


def test_transient_error_is_exhausted(loop):  # noqa: F811
    """After the last attempt the item fails with all of them, tracebacks too; unknown errors are internal."""

    async def broken(item: Item, attempt: int) -> Outcome[Item]:
        raise KeyError("lost")

    bench = Bench(loop, broken, options={"attempts": 3})
    run_main(bench.flow(items(1)))
    [failed] = bench.errs
    assert (failed.item.name, failed.stage, failed.code) == ("asset-0", "work", "internal")
    assert [a.number for a in failed.attempts] == [1, 2, 3]
    assert all("in broken" in a.traceback for a in failed.attempts)
    assert states(bench, "asset-0")[-1] == (State.FAILED, 3)


def test_an_outage_costs_no_attempts(loop):  # noqa: F811
    """While a service of ours is away an item waits, longer than its attempts, and keeps no tracebacks of that."""

    async def away(item: Item, attempt: int) -> Outcome[Item]:
        if attempt <= 5:
            raise AssetError("store_unavailable", "down")
        if attempt <= 7:
            raise KeyError("lost")
        return Outcome(item)

    bench = Bench(loop, away, options={"attempts": 3, "patience_s": 60.0})
    run_main(bench.flow(items(1)))
    assert [item.name for item in bench.oks] == ["asset-0"]
    assert states(bench, "asset-0")[-1] == (State.COMPLETED, 8)


def test_patience_ends(loop):  # noqa: F811
    """A service that stays away fails the item at last, with every attempt, and without their tracebacks."""

    async def away(item: Item, attempt: int) -> Outcome[Item]:
        raise AssetError("index_unavailable", "down")

    bench = Bench(loop, away, options={"attempts": 2, "patience_s": 0.3})
    run_main(bench.flow(items(1)))
    [failed] = bench.errs
    assert failed.code == "index_unavailable" and len(failed.attempts) > 2
    assert not any(attempt.traceback for attempt in failed.attempts)


@pytest.mark.parametrize("code", ["decoder_crashed", "too_large"])
def test_a_failure_that_may_not_come_again_is_told_once_it_is_durable(tmp_path: Path, loop, code):  # noqa: F811
    """A crash in the epoch of a transient failure runs the item again, untold; a terminal one comes out at once."""
    init_db_dir(tmp_path, 1)
    runs: list[int] = []

    async def broken_once(item: Item, attempt: int) -> Outcome[Item]:
        runs.append(attempt)
        if len(runs) == 1:
            raise AssetError(code)
        return Outcome(item)

    inputs: list[Any] = [*items(1), TestingSource.PAUSE(timedelta(seconds=0.3)), TestingSource.ABORT()]
    bench = Bench(loop, broken_once, options={"attempts": 1})
    for _ in range(2):
        run_main(bench.flow(inputs), epoch_interval=timedelta(seconds=5), recovery_config=RecoveryConfig(tmp_path))
        bench.gate = Gate(64)
    assert [failed.code for failed in bench.errs] == ([] if code == "decoder_crashed" else [code])
    assert len(bench.oks) == 1 and len(runs) == 2


def test_a_decided_failure_is_not_run_again(loop):  # noqa: F811
    """What a snapshot holds as failed for good comes out as that, with its attempts, and without another run."""

    async def never(item: Item, attempt: int) -> Outcome[Item]:
        raise AssertionError("it was run again")

    bench = Bench(loop, never)
    last = Attempt(number=3, code="decoder_crashed", detail="SIGSEGV")
    state = [["asset-0", items(1)[0].model_dump_json(), [last.model_dump(mode="json")], 0, True]]
    emitted, _ = _Shard(bench.stage(), json.dumps(state).encode()).on_eof()
    assert [type(value).__name__ for _, value in emitted] == ["StatusChanged", "Failed"]
    assert emitted[-1][1].attempts == (last,) and emitted[-1][1].detail == "SIGSEGV"


def test_terminal_error_fails_at_once(run_flow, loop):  # noqa: F811
    """A terminal error is not tried again, ends in its code's state, and leaves other items alone."""

    async def picky(item: Item, attempt: int) -> Outcome[Item]:
        if item.n == 2:
            raise AssetError("too_large", "9 GB")
        return Outcome(item)

    bench = Bench(loop, picky)
    run_flow(bench.flow(items(8)))
    assert len(bench.oks) == 7
    assert [(f.code, f.detail, len(f.attempts)) for f in bench.errs] == [("too_large", "9 GB", 1)]
    assert states(bench, "asset-2") == [(State.PROCESSING, 1), (State.REJECTED, 1)]


def test_deadline_cancels_the_work(loop):  # noqa: F811
    """At its deadline an attempt is cancelled, so that it can end its process, and fails with a code."""
    cancelled = []

    async def slow(item: Item, attempt: int) -> Outcome[Item]:
        try:
            await asyncio.sleep(FOREVER_S)
        except asyncio.CancelledError:
            cancelled.append(attempt)
            raise
        return Outcome(item)

    bench = Bench(loop, slow, options={"timeout_s": 0.05, "attempts": 2})
    run_main(bench.flow(items(1)))
    assert cancelled == [1, 2]
    assert [(f.code, f.detail) for f in bench.errs] == [("deadline_exceeded", "0.05 s")]


@pytest.mark.parametrize("error", [TimeoutError, asyncio.CancelledError])
def test_errors_from_within_are_no_deadline(loop, error):  # noqa: F811
    """A timeout or cancellation inside the work is an unknown error, neither a deadline nor a lost item."""

    async def inner(item: Item, attempt: int) -> Outcome[Item]:
        raise error

    bench = Bench(loop, inner, options={"attempts": 1})
    run_main(bench.flow(items(1)))
    assert [f.code for f in bench.errs] == ["internal"]


def test_events_are_told_at_once(loop):  # noqa: F811
    """The callback gets the stage's own events, the same as the stream; steps' events are told by the work."""
    told: list[StatusChanged] = []
    bench = Bench(loop, double, options={"on_event": told.append, "clock": lambda: 1234})
    run_main(bench.flow(items(5)))
    assert sorted(e.event_id for e in told) == sorted(e.event_id for e in bench.events if not e.step)
    assert {e.at_ms for e in told} == {1234}


def test_a_broken_callback_ends_the_flow(loop):  # noqa: F811
    """A fault of the stage's own machinery raises in the flow instead of leaving an item unfinished."""

    def broken(event: StatusChanged) -> None:
        raise ValueError("no listener")

    bench = Bench(loop, double, options={"on_event": broken})
    with pytest.raises(Exception) as raised:
        run_main(bench.flow(items(1)))
    assert "no listener" in repr(raised.getrepr())


def test_end_of_input_waits_for_the_work(run_flow, loop):  # noqa: F811
    """Without a gated source the end of the input still waits for items in hand and in retry."""

    async def flaky(item: Item, attempt: int) -> Outcome[Item]:
        await asyncio.sleep(0.02)
        if attempt == 1:
            raise AssetError("store_unavailable")
        return Outcome(item)

    bench = Bench(loop, flaky)
    run_flow(bench.flow(items(12), held_back=False))
    assert len(bench.oks) == 12


@pytest.mark.parametrize("interval", [AT_ONCE, timedelta(seconds=5)], ids=["snapshot_each_batch", "replay"])
def test_an_aborted_flow_resumes(tmp_path: Path, loop, interval):  # noqa: F811
    """Items in hand at an abort are run again on the next start, with the attempt number they had."""
    init_db_dir(tmp_path, 1)
    recovery = RecoveryConfig(tmp_path)
    ran: Counter[tuple[str, int]] = Counter()
    aborted = False

    async def work(item: Item, attempt: int) -> Outcome[Item]:
        ran[item.name, attempt] += 1
        if attempt == 1:
            raise AssetError("store_unavailable")
        if not aborted:
            await asyncio.sleep(FOREVER_S)
        return Outcome(item)

    inputs: list[Any] = [*items(4), TestingSource.PAUSE(timedelta(seconds=0.3)), TestingSource.ABORT()]
    bench = Bench(loop, work)
    run_main(bench.flow(inputs), epoch_interval=interval, recovery_config=recovery)
    assert bench.oks == []
    aborted, bench.gate = True, Gate(64)
    run_main(bench.flow(inputs), epoch_interval=interval, recovery_config=recovery)
    assert sorted(item.n for item in bench.oks) == [0, 1, 2, 3]
    if interval == AT_ONCE:
        assert ran["asset-0", 2] == 2 and ran["asset-0", 1] == 1


def test_draining_keeps_the_work(tmp_path: Path, loop):  # noqa: F811
    """A drain ends the flow without an error, cancels work in hand, and the next start runs it."""
    init_db_dir(tmp_path, 1)
    recovery = RecoveryConfig(tmp_path)
    bench = Bench(loop, double)
    cancelled = []

    async def held(item: Item, attempt: int) -> Outcome[Item]:
        if item.n < 6:
            return Outcome(item)
        bench.gate.drain()
        try:
            await asyncio.sleep(FOREVER_S)
        except asyncio.CancelledError:
            cancelled.append(item.n)
            raise
        return Outcome(item)

    bench.run = held
    inputs = items(8)
    run_main(bench.flow(inputs), recovery_config=recovery)
    loop.run(asyncio.sleep(0.05))
    assert cancelled and all(item.n < 6 for item in bench.oks)
    bench.run, bench.gate = double, Gate(64)
    run_main(bench.flow(inputs), recovery_config=recovery)
    assert {item.name for item in bench.oks} == {item.name for item in inputs}


def test_stages_in_a_row_and_a_stage_for_failures(loop):  # noqa: F811
    """Stages chain by their oks, and a stage works on another's failures through their codec."""

    async def odd_fails(item: Item, attempt: int) -> Outcome[Item]:
        if item.n % 2:
            raise AssetError("too_long")
        return Outcome(item)

    async def bury(item: Item, attempt: int) -> Outcome[Item]:
        return Outcome(None, rows=(("dead", {"row_id": item.name}),))

    bench, dead = Bench(loop, odd_fails), Bench(loop, bury)
    flow = Dataflow("row")
    inputs = op.key_on("key", op.input("in", flow, TestingSource(items(10))), lambda item: item.name)
    first = stage("first", inputs, bench.stage("first"))
    second = stage("second", first.oks, Bench(loop, double, bench.gate).stage("second"))
    op.output("oks", op.map("ok", second.oks, lambda keyed: keyed[1]), TestingSink(bench.oks))
    failed = op.map_value("failed", first.errs, lambda failed: failed.item)
    rows = stage("bury", failed, dead.stage("bury")).rows
    op.output("dead", op.map("row", rows, lambda keyed: keyed[1]), TestingSink(dead.rows))
    run_main(flow)
    assert sorted(item.n for item in bench.oks) == [0, 4, 8, 12, 16]
    assert len(dead.rows) == 5
