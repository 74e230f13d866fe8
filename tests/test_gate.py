"""The gate, and the balance of the shards behind it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main
from flow_fixtures import Bench, Item, items, loop  # noqa: F401

from operators.gate import Gate
from schemas.ids import SHARDS, shard_of
from schemas.outcome import Outcome


def test_the_gate_bounds_what_is_in_hand(loop):  # noqa: F811
    """The source waits while the gate is full: at most its limit and a batch are in hand at once."""
    most = 0

    async def watch(item: Item, attempt: int) -> Outcome[Item]:
        nonlocal most
        most = max(most, bench.gate.unfinished)
        await asyncio.sleep(0.005)
        return Outcome(item)

    bench = Bench(loop, watch, gate=Gate(6))
    run_main(bench.flow(items(60)))
    assert len(bench.oks) == 60 and most <= 6 + 2 * 4


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_shards_are_balanced(workers: int):
    """The shards spread evenly over workers: the fullest has at most 1.2 times its part."""
    counts: Counter[int] = Counter()

    def count(step: str, item: Any, epoch: int, worker: int) -> None:
        counts[worker] += 1

    keys = sorted({shard_of(f"asset-{n}") for n in range(20 * SHARDS)})
    assert len(keys) == SHARDS
    flow = Dataflow("balance")
    shards = op.input("in", flow, TestingSource([(key, 1) for key in keys]))
    sums = op.stateful_map("sum", shards, lambda state, value: ((state or 0) + value, value))
    op.output("out", op.inspect_debug("worker", sums, count), TestingSink([]))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)
    assert sum(counts.values()) == SHARDS and max(counts.values()) <= 1.2 * SHARDS / workers
