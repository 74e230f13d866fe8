"""Which windows are due by event time, the sums that are shown, and what a cluster has to be told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource
from flow_fixtures import AT_ONCE, run_flow  # noqa: F401
from usage_events import asset, use
from usage_runs import START_MS, lineage, row, settings_in, write

from dataflows import cluster, event_time
from dataflows.event_time import EventTime, due_windows
from dataflows.usage_queries import totals
from schemas import metrics
from schemas.settings import Settings
from sinks.usage import Due, Window


def told(settings: Settings, rows: list[dict[str, Any]], run: Any, epoch: timedelta = AT_ONCE) -> list[Due]:
    found: list[Any] = []
    flow = Dataflow("due")
    keyed = op.key_on("tenant", op.input("in", flow, TestingSource(rows, 1)), lambda r: r["tenant"])
    op.output("out", due_windows("due", keyed, settings), TestingSink(found))
    run(flow, epoch_interval=epoch)
    return [due for _tenant, due in found]


def at(n: int, at_ms: int, tenant: str = "acme") -> dict[str, Any]:
    return row(use(n, at_ms, tenant=tenant))


def test_a_window_closes_by_event_time_and_late_events_open_it_again(tmp_path: Path, run_flow) -> None:  # noqa: F811
    """An event past the lateness closes the window before; one that comes later is late, and its window due again."""
    settings, late = settings_in(tmp_path, usage_lateness_s=30.0), metrics.USAGE_LATE._value.get()
    rows = [at(1, START_MS), at(2, START_MS + 95_000), at(3, START_MS + 1), at(4, START_MS + 61_000)]
    found = told(settings, rows, run_flow)
    first, second = Window("acme", START_MS), Window("acme", START_MS + 60_000)
    assert sorted(found) == [Due(window, why) for window in (first, second) for why in ("closed", "late")]
    assert metrics.USAGE_LATE._value.get() == late + 2


def test_a_clock_of_the_future_makes_nobody_late() -> None:
    """The watermark never passes the time that is now, less the lateness, whatever an event says."""
    clock = EventTime(timedelta(seconds=30))
    seen, watermark = clock.saw(clock.now() + timedelta(days=9))
    assert seen <= clock.now() and watermark <= clock.now() - timedelta(seconds=30)
    assert clock.saw(seen - timedelta(seconds=10))[1] >= watermark


def test_the_watermark_goes_on_while_nothing_comes() -> None:
    """It is as far behind the time as the newest event was; it never goes back, and tells when it will be where."""
    clock = EventTime(timedelta(seconds=30))
    start = event_time._EPOCH + timedelta(milliseconds=START_MS)
    assert clock.watermark() == event_time._EPOCH
    _, first = clock.saw(start)
    assert first == start - timedelta(seconds=30)
    assert clock.saw(start - timedelta(hours=1))[1] >= first
    assert clock.watermark() >= first
    wakes = clock.at(start)
    assert timedelta(seconds=29) < wakes - clock.now() <= timedelta(seconds=30)


def test_sums_by_action_window_and_asset(tmp_path: Path) -> None:
    """The read side adds up windows of a tenant, of all of its assets, and of one, from a time on."""
    settings = settings_in(tmp_path, tenant="acme")
    assert totals(settings, "action") == []
    lineage(settings, {asset(0): [asset(1)]})
    sold = use(3, START_MS + 60_000, "sold", price={"amount": 250, "currency": "EUR"})
    write(settings, [use(1, START_MS), use(2, START_MS + 60_000), sold, use(4, START_MS, tenant="zeta")])
    (sales, views) = totals(settings, "action")
    assert (sales["action"], sales["currency"], sales["amount"], sales["credit_amount"]) == ("sold", "EUR", 250, 125.0)
    assert (views["events"], views["credit"]) == (2, 1.0)
    assert [r["events"] for r in totals(settings, "window") if r["action"] == "viewed"] == [1, 1]
    assert [r["events"] for r in totals(settings, "action", since_ms=START_MS + 1)] == [1, 1]
    by_asset = totals(settings, "asset")
    assert {(r["asset_id"], r["action"]): (r["events"], r["credit"]) for r in by_asset} == {
        (asset(0), "viewed"): (2, 0.0), (asset(1), "viewed"): (0, 1.0),
        (asset(0), "sold"): (1, 0.0), (asset(1), "sold"): (0, 0.5),
    }  # fmt: skip
    assert [r["credit"] for r in totals(settings, "action", [asset(1)])] == [0.5, 1.0]
    with pytest.raises(ValueError, match="there are action, window, asset"):
        totals(settings, "moon")


@pytest.mark.parametrize(
    ("given", "environment", "settings"),
    [
        ([], {}, (0, 1)),
        (["-i", "1", "-a", "h:1;h:2"], {}, (1, 2)),
        (["--process-id=2", "--addresses=h:1;h:2;h:3"], {}, (2, 3)),
        ([], {"BYTEWAX_PROCESS_ID": "1", "BYTEWAX_ADDRESSES": "h:1;h:2"}, (1, 2)),
        ([], {"BYTEWAX_POD_NAME": "usage-1", "BYTEWAX_STATEFULSET_NAME": "usage", "BYTEWAX_ADDRESSES": "a;b"}, (1, 2)),
    ],
)
def test_the_engine_and_the_settings_must_agree(
    monkeypatch: pytest.MonkeyPatch, given: list[str], environment: dict[str, str], settings: tuple[int, int]
) -> None:
    """A process is one number of as many by both, else it says so before it reads anything."""
    monkeypatch.setattr("sys.argv", ["run", "dataflows.usage:flow", *given])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    process, processes = settings
    cluster.check(Settings(process=process, processes=processes), None)
    with pytest.raises(ValueError, match=f"but {process} of {processes} by Bytewax"):
        cluster.check(Settings(process=process, processes=processes + 1), None)
    with pytest.raises(ValueError, match="keeps no recovery store"):
        cluster.check(Settings(process=process, processes=processes), Path("r"))
