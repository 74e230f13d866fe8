"""The Delta sink: every row once, through replays, lost recovery stores, races, failures and kill -9."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pyarrow as pa
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSource, run_main
from delta_rows import ASSETS, ids_in, read_table, rows_at
from deltalake.exceptions import CommitFailedError
from flow_fixtures import AT_ONCE, SCHEMA, Item, run_flow  # noqa: F401

from chaos.waiting import eventually
from schemas.ids import row_id
from sinks.delta import DeltaSink
from sinks.delta_table import Appender, open_table
from sources.inbox import Inbox

ROOT = Path(__file__).resolve().parent.parent


def row(n: int) -> dict[str, Any]:
    return {"row_id": row_id(n // 3, "rows", n), "name": f"n{n}", "tags": ["a", str(n)]}


def table_flow(sink: DeltaSink, inputs: list[Any]) -> Dataflow:
    flow = Dataflow("table")
    rows = op.input("in", flow, TestingSource(inputs, batch_size=5))
    op.output("out", op.key_on("key", rows, lambda row: row["name"]), sink)
    return flow


def ids_of(count: int) -> list[str]:
    return sorted(row(n)["row_id"] for n in range(count))


def test_rows_are_there_when_the_flow_ends(tmp_path: Path, run_flow):  # noqa: F811
    """All rows are in the table at the flow's end, lists and missing values as they were, doubles once."""
    sink = DeltaSink(str(tmp_path / "t"), SCHEMA)
    bare = {"row_id": row_id(99, "rows", "bare"), "name": "bare"}
    run_flow(table_flow(sink, [row(n) for n in range(20)] + [row(3), bare]))
    rows = {r["name"]: r for r in read_table(sink.uri).to_pylist()}
    assert len(rows) == 21 == read_table(sink.uri).num_rows
    assert rows["n7"] == row(7) and rows["bare"]["tags"] is None


@pytest.mark.parametrize("remembered", [100_000, 4])
def test_replays_are_dropped(tmp_path: Path, remembered: int):
    """The same rows again, in another order, with no recovery store and few ids in memory, change nothing."""
    sink = DeltaSink(str(tmp_path / "t"), SCHEMA, remembered=remembered)
    rows = [row(n) for n in range(40)]
    run_main(table_flow(sink, rows[:25]), epoch_interval=AT_ONCE)
    random.Random(1).shuffle(rows)
    run_main(table_flow(sink, rows + rows[:10]), epoch_interval=AT_ONCE)
    assert ids_in(tmp_path / "t") == ids_of(40)


def test_an_aborted_flow_resumes(tmp_path: Path, run_flow):  # noqa: F811
    """After an abort the replayed epoch and the snapshot's rows come once to the table."""
    (tmp_path / "r").mkdir()
    init_db_dir(tmp_path / "r", 1)
    recovery = RecoveryConfig(tmp_path / "r")
    sink = DeltaSink(str(tmp_path / "t"), SCHEMA)
    rows = [row(n) for n in range(30)]
    inputs: list[Any] = [*rows[:17], TestingSource.ABORT(), *rows[17:]]
    run_main(table_flow(sink, inputs), epoch_interval=AT_ONCE, recovery_config=recovery)
    run_main(table_flow(sink, inputs), epoch_interval=AT_ONCE, recovery_config=recovery)
    assert ids_in(tmp_path / "t") == ids_of(30)


def test_two_flows_create_one_table(tmp_path: Path):
    """Flows that start at once all find one table, and none loses rows to the race."""
    failures: list[BaseException] = []

    def run(part: int) -> None:
        try:
            partition = DeltaSink(str(tmp_path / "t"), SCHEMA).build_part("s", "rows", None)
            partition.write_batch([row(n) for n in range(part, 40, 4)])
            partition.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and ids_in(tmp_path / "t") == ids_of(40)


class FailingTable(Appender):
    """An appender whose first writes raise, before or after they have reached the table."""

    def __init__(self, real: Appender, error: Exception, times: int, written: bool) -> None:
        vars(self).update(vars(real))
        self._error, self._times, self._written = error, times, written

    def _write(self, rows: Any) -> None:
        if self._times:
            self._times -= 1
            if self._written:
                super()._write(rows)
            raise self._error
        super()._write(rows)


class FailingSink(DeltaSink):
    """A sink to a failing table."""

    fault: tuple[Exception, int, bool] = (OSError("disk full"), 1000, False)

    def appender(self) -> Appender:
        return FailingTable(super().appender(), *self.fault)


@pytest.mark.parametrize("pause", [False, True], ids=["seen_at_close", "seen_by_a_later_write"])
def test_a_failed_append_ends_the_flow_and_loses_nothing(tmp_path: Path, pause: bool):
    """An append that fails raises in the flow, and the next run writes its rows from the snapshot."""
    (tmp_path / "r").mkdir()
    init_db_dir(tmp_path / "r", 1)
    recovery = RecoveryConfig(tmp_path / "r")
    wait = [TestingSource.PAUSE(timedelta(seconds=0.2))] if pause else []
    inputs = [*[row(n) for n in range(5)], *wait, *[row(n) for n in range(5, 12)]]
    failing = FailingSink(str(tmp_path / "t"), SCHEMA)
    with pytest.raises(Exception) as raised:
        run_main(table_flow(failing, inputs), epoch_interval=AT_ONCE, recovery_config=recovery)
    assert "disk full" in repr(raised.value.__cause__) + str(raised.value)
    assert ids_in(tmp_path / "t") == []
    run_main(table_flow(DeltaSink(failing.uri, SCHEMA), inputs), epoch_interval=AT_ONCE, recovery_config=recovery)
    assert ids_in(tmp_path / "t") == ids_of(12)


def test_a_commit_that_failed_too_late_doubles_nothing(tmp_path: Path):
    """A conflict reported for a commit that is there all the same is tried again without its rows."""
    sink = FailingSink(str(tmp_path / "t"), SCHEMA)
    sink.fault = (CommitFailedError("conflict"), 1, True)
    run_main(table_flow(sink, [row(n) for n in range(8)]))
    assert ids_in(tmp_path / "t") == ids_of(8)


def test_a_bad_row_ends_the_flow(tmp_path: Path):
    """A row that does not fit the schema, or has no id, raises instead of being dropped."""
    misfit = {"row_id": "x", "name": "n", "tags": 5}
    for bad, error in ((misfit, pa.ArrowTypeError), ({"name": "n"}, KeyError)):
        with pytest.raises(Exception) as raised:
            run_main(table_flow(DeltaSink(str(tmp_path / "t"), SCHEMA), [bad]))
        assert error in (type(raised.value), type(raised.value.__cause__))
    assert ids_in(tmp_path / "t") == []


def test_row_id_must_lead(tmp_path: Path):
    """A schema whose first column is not row_id is refused: later columns may lack statistics."""
    with pytest.raises(ValueError, match="row_id"):
        DeltaSink("t", pa.schema([("name", pa.string()), ("row_id", pa.string())]))


def test_a_dead_owners_last_rows_are_not_doubled(tmp_path: Path):
    """Rows that another process's append brings while the new owner runs already are found before its own."""
    uri, now = str(tmp_path / "t"), time.time_ns() // 1_000_000
    rows, late = rows_at(now, 6), DeltaSink(uri, ASSETS).build_part("step", "rows", None)
    owner = DeltaSink(uri, ASSETS).build_part("step", "rows", None)
    late.write_batch(rows[:4])
    late.close()
    owner.write_batch(rows)
    owner.close()
    assert ids_in(tmp_path / "t") == sorted(row["row_id"] for row in rows)


def test_the_assets_of_waiting_rows_are_known(tmp_path: Path):
    """An asset waits from when its rows are handed over until the table has them, through failures too."""
    sink = FailingSink(str(tmp_path / "t"), ASSETS, patience_s=60)
    sink.fault = (OSError("away"), 3, False)
    partition = sink.build_part("step", "rows", None)
    partition.write_batch(rows_at(1, 3))
    assert sink.waiting() == {"asset-0", "asset-1", "asset-2"}
    assert pa.ipc.open_stream(partition.snapshot()).read_all().num_rows == 3
    partition.write_batch(rows_at(1, 4))
    assert "asset-3" in sink.waiting()
    partition.snapshot()
    assert eventually(lambda: not sink.waiting())
    partition.close()
    assert len(ids_in(tmp_path / "t")) == 4


def test_an_outage_is_waited_for_but_not_at_the_end(tmp_path: Path):
    """A table that is away fails the flow only once its patience is over; a flow that ends does not wait so long."""
    sink = FailingSink(str(tmp_path / "t"), ASSETS, patience_s=0.3)
    partition = sink.build_part("step", "rows", None)
    partition.write_batch(rows_at(1, 1))
    partition.snapshot()
    with pytest.raises(OSError, match="disk full"):
        while True:
            partition.write_batch([])
            time.sleep(0.02)
    partition.close()
    appender = FailingTable(Appender(open_table(sink.uri, ASSETS), patience_s=3600), *sink.fault)
    appender.end(0.1)
    with pytest.raises(OSError, match="disk full"):
        appender.append(pa.Table.from_pylist(rows_at(1, 1), schema=ASSETS), set())


def test_kill_9_loses_and_doubles_nothing(tmp_path: Path):
    """Four kills at random points, one with the recovery store lost: every item is in the table once."""
    names = [f"asset-{n}" for n in range(100)]
    Inbox(tmp_path / "inbox").append(Item(name=name, n=n).model_dump_json().encode() for n, name in enumerate(names))
    runs, rng = tmp_path / "runs", random.Random(9)
    runs.touch()
    for kill in range(4):
        process = _start(tmp_path)
        target = _lines(runs) + rng.randrange(8, 22)
        while _lines(runs) < target and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.wait()
        if kill == 2:
            shutil.rmtree(tmp_path / "recovery")
    assert _start(tmp_path).wait(60) == 0
    table = read_table(str(tmp_path / "table"))
    assert sorted(table["name"].to_pylist()) == sorted(names)
    assert _lines(runs) > len(names), "the kills hit while work was in hand"


def _start(folder: Path) -> subprocess.Popen[bytes]:
    program = ROOT / "tests" / "flow_fixtures.py"
    return subprocess.Popen([sys.executable, program, folder], env={**os.environ, "PYTHONPATH": str(ROOT)})


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")
