"""Small real parts that the flow tests share: items, a stage around a coroutine, ways to run a flow."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pyarrow as pa
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, cluster_main, run_main

from operators.attempts import Stage
from operators.gate import Gate, gated
from operators.loop import Loop
from operators.stage import StageOut, stage
from schemas.base import Model
from schemas.ids import row_id
from schemas.outcome import Outcome, Subject, model_codec
from sinks.delta import DeltaSink
from sources.inbox import InboxSource

AT_ONCE = timedelta(0)
Runner = Callable[..., None]


class Item(Model):
    """A named item."""

    name: str
    n: int = 0


SCHEMA = pa.schema([("row_id", pa.string()), ("name", pa.string()), ("tags", pa.list_(pa.string()))])


def run_cluster(flow: Dataflow, **options: Any) -> None:
    """Runs a flow on two workers of one process."""
    cluster_main(flow, [], 0, worker_count_per_proc=2, **options)


@pytest.fixture(params=[run_main, run_cluster], ids=["one_worker", "two_workers"])
def run_flow(request: pytest.FixtureRequest) -> Runner:
    """Both ways to run a flow."""
    return request.param


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A running loop."""
    with Loop() as running:
        yield running


@dataclass
class Bench:
    """A flow of one stage over named items, with what came out of it."""

    loop: Loop
    run: Callable[[Any, int], Awaitable[Outcome[Any]]]
    gate: Gate = field(default_factory=lambda: Gate(64))
    options: dict[str, Any] = field(default_factory=dict)
    oks: list[Any] = field(default_factory=list)
    errs: list[Any] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)

    def stage(self, name: str = "work") -> Stage:
        """The stage, with quick retries."""
        options = {"backoff_s": 0.01, **self.options}
        return Stage(name, self.run, model_codec(Item), self.subject, self.loop, self.gate, **options)

    @staticmethod
    def subject(item: Item) -> Subject:
        """An item's ids are its name."""
        return Subject(item.name, f"job-{item.name}", "default")

    def flow(self, inputs: list[Any], held_back: bool = True) -> Dataflow:
        """source -> stage -> lists; `held_back` gates the source."""
        flow = Dataflow("bench")
        source = TestingSource(inputs, batch_size=4)
        lines = op.input("in", flow, gated(source, self.gate) if held_back else source)
        self.collect(stage("work", op.key_on("key", lines, lambda item: item.name), self.stage()))
        return flow

    def collect(self, out: StageOut) -> None:
        """Gathers the values of a stage's streams."""
        for name in ("oks", "errs", "events", "rows"):
            values = op.map(f"{name}_value", getattr(out, name), lambda keyed: keyed[1])
            op.output(f"{name}_out", values, TestingSink(getattr(self, name)))


def items(count: int) -> list[Item]:
    """Items with names of their own."""
    return [Item(name=f"asset-{n}", n=n) for n in range(count)]


def crash_flow(folder: Path, loop: Loop) -> Dataflow:
    """inbox -> two short stages -> Delta table, below one folder; every run of the second is noted."""
    gate = Gate(6)

    async def first(item: Item, attempt: int) -> Outcome[Item]:
        await asyncio.sleep(0.01)
        return Outcome(item)

    async def second(item: Item, attempt: int) -> Outcome[Item]:
        await asyncio.sleep(0.02)
        with (folder / "runs").open("a") as log:
            log.write(f"{item.name}\n")
        return Outcome(None, rows=(("rows", {"row_id": row_id(item.n, "rows", item.name), "name": item.name}),))

    flow = Dataflow("crash")
    lines = op.input("in", flow, gated(InboxSource(folder / "inbox", batch_size=4), gate))
    decoded = op.map("decode", lines, lambda line: Item.model_validate_json(line.value))
    keyed = op.key_on("key", decoded, lambda item: item.name)
    done = stage("first", keyed, Bench(loop, first, gate).stage("first"))
    done = stage("second", done.oks, Bench(loop, second, gate).stage("second"))
    rows = op.map_value("row", done.rows, lambda row: row[1])
    op.output("table", rows, DeltaSink(str(folder / "table"), SCHEMA))
    return flow


def main() -> None:
    """Runs the crash flow in the folder that is the only argument, made to be killed."""
    folder = Path(sys.argv[1])
    recovery = folder / "recovery"
    if not recovery.exists():
        recovery.mkdir()
        init_db_dir(recovery, 1)
    with Loop() as running:
        flow = crash_flow(folder, running)
        run_main(flow, epoch_interval=timedelta(milliseconds=100), recovery_config=RecoveryConfig(recovery))


if __name__ == "__main__":
    main()
