"""Windows of use: the same tables for any order, repetition, crash, failure, deletion and change of settings."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from flow_fixtures import loop, run_flow  # noqa: F401
from usage_events import asset, counted, in_table, use, uses
from usage_runs import START_MS, flow_of, lineage, row, settings_in, sink_of, tables_of, write

from dataflows import maintenance, tables, usage_windows, using
from dataflows.connections import objects_of
from dataflows.tombstones import Tombstones
from dataflows.usage_windows import EVENTS, Windows, forget
from operators.attempts import now_ms
from operators.gate import Gate
from operators.loop import Loop
from operators.stages.dead_letter import letters, unreadable
from schemas import metrics
from schemas.errors import AssetError
from schemas.messages import Message
from schemas.ports import ObjectStore
from sinks.usage import Due, Window


@pytest.mark.parametrize("seed", range(5))
def test_any_order_and_duplication_give_the_same_tables(tmp_path: Path, seed: int, run_flow):  # noqa: F811
    """In order at once, and shuffled, doubled, in batches, late and in two runs: the same rows in all three tables."""
    rng, events = Random(seed), uses(seed, 120, START_MS, 300_000)
    parents = {asset(i): [asset(j) for j in range(i) if rng.random() < 0.3] for i in range(10)}
    found = []
    for name in ("straight", "mixed"):
        settings = settings_in(tmp_path / name, usage_lateness_s=rng.choice((0.0, 60.0)))
        lineage(settings, parents)
        given = [row(event) for event in events]
        if name == "mixed":
            given += rng.sample(given, 60)
            rng.shuffle(given)
        cut = rng.randrange(len(given)) if name == "mixed" else len(given)
        for part in (given[:cut], given[cut // 2 :]):
            epoch = timedelta(0) if rng.random() < 0.5 else timedelta(seconds=5)
            run_flow(flow_of(settings, part, rng.randrange(1, 200)), epoch_interval=epoch)
        found.append(tables_of(settings))
        assert in_table(settings) == counted(events, 60)
    assert found[0] == found[1]
    assert sum(r["credit"] for r in found[0]["usage_tenants"]) > 0


def test_credit_follows_the_newest_manifest(tmp_path: Path) -> None:
    """Parents are those of the tenant's newest manifest version; another tenant's lineage is none of its own."""
    settings = settings_in(tmp_path)
    lineage(settings, {asset(1): [asset(2)]})
    lineage(settings, {asset(1): [asset(3)]}, version=2)
    lineage(settings, {asset(1): [asset(4)]}, version=3, tenant="zeta")
    write(settings, [use(1, START_MS, used=asset(1), quantity=4)])
    found = {r["asset_id"]: (r["quantity"], r["credit"]) for r in tables_of(settings)["usage_assets"]}
    assert found == {asset(1): (4, 0.0), asset(3): (0, 2.0)}


def test_windows_that_a_crash_left_behind_are_computed_at_the_start(tmp_path: Path) -> None:
    """Events in the table whose windows were never computed are counted by the next process, with no further event."""
    settings, events = settings_in(tmp_path), uses(1, 30, START_MS, 120_000)
    write(settings, events, windows=[])
    assert in_table(settings) == {}
    assert Windows(settings, set).stale()
    write(settings, [])
    assert in_table(settings) == counted(events, 60) and not Windows(settings, set).stale()


@pytest.mark.parametrize(("before", "after"), [(60, 90), (90, 60), (60, 7), (7, 60)])
def test_windows_of_another_length_replace_those_before(tmp_path: Path, before: int, after: int) -> None:
    """After a change of the setting the tables are as if it had always been so."""
    events = uses(2, 40, START_MS, 200_000)
    for length in (before, after):
        settings = settings_in(tmp_path, usage_window_s=length)
        write(settings, events, windows=[])
        write(settings, [])
    assert in_table(settings) == counted(events, after)
    assert {r["window_s"] for r in tables_of(settings)["usage_assets"]} == {after}


def test_only_windows_of_this_partitions_tenants_are_computed_at_the_start(tmp_path: Path) -> None:
    """Two processes share the windows that were left behind, each its own tenants'."""
    settings, events = settings_in(tmp_path), uses(3, 60, START_MS, 60_000, [f"t{n}" for n in range(8)])
    write(settings, events, windows=[])
    for process in (0, 1):
        sink = sink_of(settings)
        sink.process, sink.processes = process, 2
        sink.build_part("s", f"{process:04d}", None).close()
        tenants = {key[1] for key in in_table(settings)}
        assert 0 < len(tenants) < 8 if process == 0 else len(tenants) == 8
    assert in_table(settings) == counted(events, 60)


class FailingWindows(Windows):
    """Fails after it has written the assets' rows, so many times."""

    times = 1

    def _count(self, before: Any, after: Any) -> None:
        if FailingWindows.times:
            FailingWindows.times -= 1
            raise OSError("the answer was lost")
        super()._count(before, after)


def test_a_computation_that_fails_is_made_again(tmp_path: Path) -> None:
    """With patience a lost answer changes nothing; without, the flow ends, and the next start repairs it."""
    settings, events = settings_in(tmp_path), uses(4, 30, START_MS, 60_000)
    write(settings, events, windows=[])
    due = dict.fromkeys(Windows(settings, set).stale(), "closed")
    FailingWindows.times = 1
    FailingWindows(settings, set).compute(due)
    assert in_table(settings) == counted(events, 60)
    impatient = settings.model_copy(update={"patience_s": 0.0})
    FailingWindows.times = 1
    partition = sink_of(impatient).build_part("s", "0000", None)
    partition._sink.compute = FailingWindows(impatient, set).compute
    partition.write_batch([Due(next(iter(due)), "late")])
    with pytest.raises(OSError, match="lost"):
        partition.snapshot()
    partition.close()


@pytest.mark.parametrize("first", [None, []])
def test_two_writers_of_a_window_leave_what_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: list[Window] | None
) -> None:
    """One that has read before another has written computes again: what it read is never put over or beside it."""
    settings, events = settings_in(tmp_path), uses(5, 20, START_MS, 60_000, ["acme"])
    write(settings, events[:10], first)
    slow, real, once = Windows(settings, set), usage_windows.replace, [True]

    def late(*given: Any) -> None:
        if once and once.pop():
            write(settings, events[10:])
        real(*given)

    monkeypatch.setattr(usage_windows, "replace", late)
    slow.compute({Window("acme", START_MS): "closed"})
    assert in_table(settings) == counted(events, 60)


def test_an_event_of_the_future_is_looked_up(tmp_path: Path) -> None:
    """An event whose time is still to come is once in the table, also if a process before has written it late."""
    settings, ahead = settings_in(tmp_path), use(1, 4_000_000_000_000)
    sink = sink_of(settings)
    slow = sink.build_part("s", "0000", None)
    write(settings, [ahead])
    slow.write_batch([row(ahead)])
    slow.snapshot()
    slow.close()
    assert len(tables_of(settings)[EVENTS]) == 1


def test_what_a_deleted_asset_had_is_gone(tmp_path: Path) -> None:
    """Its events, rows and credit go, the tenant's sums shrink, and no file of the tables names it any more."""
    settings = settings_in(tmp_path)
    lineage(settings, {asset(1): [asset(2)], asset(3): [asset(1)]})
    events = [use(n, START_MS + n, used=asset(n % 4)) for n in range(40)]
    write(settings, events)
    assert forget(settings, asset(1), {asset(1)}) == 10
    left = [event for event in events if event["data"]["asset_id"] != asset(1)]
    assert in_table(settings) == counted(left, 60)
    rows = tables_of(settings)
    assert {r["asset_id"]: r["credit"] for r in rows["usage_assets"] if r["credit"]} == {}
    assert rows["usage_tenants"][0]["events"] == 30 and not Windows(settings, set).stale()
    for path in (tmp_path / "tables").glob("usage_*/*.parquet"):
        frame = pl.read_parquet(path)
        assert "asset_id" not in frame.columns or asset(1) not in frame["asset_id"].to_list(), path
    assert forget(settings, asset(1), {asset(1)}) == 0


def test_a_deletion_takes_use_along(tmp_path: Path) -> None:
    """`delete` removes an asset's use with its rows, `verify` finds nothing of it, and finds what comes back."""
    settings = settings_in(tmp_path, tenant="acme")
    write(settings, [use(n, START_MS + n, used=asset(n % 2)) for n in range(6)])
    assert asyncio.run(maintenance.delete(settings, asset(1)))["rows"] == 3
    assert asyncio.run(maintenance.delete(settings, asset(1)))["rows"] == 0
    assert {r["asset_id"] for name in (EVENTS, "usage_assets") for r in tables_of(settings)[name]} == {asset(0)}
    found = asyncio.run(maintenance.verify(settings))
    assert not [p for p in found.rows() if "usage" in p["subject"] or "usage" in p["message"]]
    write(settings, [use(9, START_MS, used=asset(1))])
    found = asyncio.run(maintenance.verify(settings))
    assert [p["code"] for p in found.rows() if "usage" in str(p)] == ["deletion_unfinished"] * 2


def test_metrics_grow_with_the_windows_and_not_with_repetition(tmp_path: Path) -> None:
    """Quantity and credit are counted once however often a window is computed; tenants only where asked for."""
    settings = settings_in(tmp_path, metrics_by_tenant=True)
    lineage(settings, {asset(0): [asset(1)]})

    def quantity(tenant: str) -> float:
        return metrics.USAGE_QUANTITY.labels("placed", tenant)._value.get()

    before, credit = quantity("acme"), metrics.USAGE_CREDIT.labels("placed", "acme")._value.get()
    for _ in range(3):
        write(settings, [use(1, START_MS, "placed", quantity=6), use(2, START_MS + 1, "placed", quantity=2)])
    assert quantity("acme") == before + 8
    assert metrics.USAGE_CREDIT.labels("placed", "acme")._value.get() == credit + 4
    write(settings_in(tmp_path / "other"), [use(1, START_MS, "placed", quantity=6)])
    assert quantity("acme") == before + 8 and quantity("") >= 6


def test_the_tables_are_maintained_like_others(tmp_path: Path) -> None:
    """`compact` joins their files, and no row changes; many computations leave few files by themselves."""
    settings, events = settings_in(tmp_path), uses(6, 60, START_MS, 120_000)
    for n in range(0, 60, 2):
        write(settings, events[n : n + 2])
    before, files = tables_of(settings), len(list((tmp_path / "tables" / EVENTS).glob("*.parquet")))
    rows = {r["table"]: r for r in tables.maintain(settings)}
    assert rows[EVENTS]["rows"] == 60 and rows[EVENTS]["files"] == 1 and files == 30
    assert tables_of(settings) == before and in_table(settings) == counted(events, 60)


class AwayAtFirst:
    """A store of dead letters that does not answer so many calls."""

    def __init__(self, real: ObjectStore, times: int) -> None:
        self._real, self.times = real, times

    def __getattr__(self, name: str) -> Any:
        if self.times:
            self.times -= 1
            raise AssetError("store_unavailable")
        return getattr(self._real, name)


@pytest.mark.parametrize("patience_s", [30.0, 0.0])
def test_dead_letters_wait_for_their_store(
    tmp_path: Path,
    loop: Loop,  # noqa: F811
    patience_s: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the store is away the flow waits, as long as its patience lasts; then each letter is kept once."""
    monkeypatch.setattr(using, "_WAIT_S", 0.01)
    settings = settings_in(tmp_path, patience_s=patience_s)
    services = SimpleNamespace(store=AwayAtFirst(objects_of(settings), 3), clock_ms=now_ms)
    runtime: Any = SimpleNamespace(
        settings=settings, loop=loop, gate=Gate(1), tombstones=Tombstones(), services=services
    )
    found = [unreadable(Message("t", 0, n, None, b"{bad", {}), "usage", "value: bad") for n in range(2)]
    endings = [(ending.letter.asset_id, ending) for ending in found]
    if not patience_s:
        with pytest.raises(AssetError, match="store_unavailable"):
            using.keep_letters(runtime, endings)
        return
    rows = using.keep_letters(runtime, endings)
    assert [(key, table) for key, (table, _) in rows if table == "assets"] == [(key, "assets") for key, _ in endings]
    again = using.keep_letters(runtime, endings)
    assert [made["row_id"] for _, (_, made) in again] == [made["row_id"] for _, (_, made) in rows]
    assert len(asyncio.run(letters(objects_of(settings), "default"))) == 2
