"""`status --watch`: what assets, stages and topics do just now, in the terminal."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dataflows import queries, topics
from dataflows.output import STYLES
from schemas.errors import State
from schemas.events import StatusChanged
from schemas.fold import ENDED, fold_asset
from schemas.settings import Settings

EVERY_S, BACK_S = 2.0, 86_400.0
MOST_LINES = 10
FLOWS = ("ingest", "derive", "chunks", "enrich", "register", "publish")


@dataclass(frozen=True)
class View:
    """Of assets accepted lately: how many are in each state, what each unfinished one does, and how the last ended.

    `working` has (asset, stage, step, seconds since the last change), `ended` (asset, state, code, message), `lags`
    flows' unfinished messages.
    """

    states: dict[str, int]
    working: list[tuple[str, str, str, float]]
    ended: list[tuple[str, str, str, str]]
    lags: dict[str, int]


def view(settings: Settings, now_s: float, back_s: float = BACK_S) -> View:
    """Read from the tables and, where the flows run on Kafka, from its offsets. Raises RuntimeError if it is away."""
    events: dict[str, list[StatusChanged]] = defaultdict(list)
    for event in queries.recent_events(settings, int((now_s - back_s) * 1000)):
        events[event.asset_id].append(event)
    folded = {asset: fold_asset(told) for asset, told in events.items()}
    last = {asset: max(told, key=lambda e: e.at_ms) for asset, told in events.items()}
    newest = sorted(events, key=lambda asset: last[asset].at_ms, reverse=True)
    working = [
        (asset, last[asset].stage, last[asset].step, now_s - last[asset].at_ms / 1000)
        for asset in reversed(newest) if folded[asset].state not in ENDED
    ]  # fmt: skip
    ended = [(a, str(folded[a].state), folded[a].code, folded[a].message) for a in newest if folded[a].state in ENDED]
    states = Counter(str(state.state) for state in folded.values())
    return View(dict(states), working[:MOST_LINES], ended[:MOST_LINES], _lags(settings) if settings.events else {})


def _lags(settings: Settings) -> dict[str, int]:
    return {flow: sum(row["lag"] for row in topics.offsets(settings, flow)) for flow in FLOWS}


def watch(settings: Settings, console: Console) -> None:
    """Shows it anew every two seconds, until it is interrupted."""
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            live.update(shown(view(settings, time.time()), time.strftime("%X")), refresh=True)
            time.sleep(EVERY_S)


def shown(found: View, at: str) -> Group:
    """The view for a terminal."""
    return Group(*_parts(found, at))


def _parts(found: View, at: str) -> Iterator[RenderableType]:
    counts = [Text(f"{count} {state}", STYLES.get(State(state), "")) for state, count in sorted(found.states.items())]
    yield Text("   ").join([Text(at, "bold"), *counts]) if counts else Text(f"{at}   no assets in the last day")
    if found.lags:
        yield _table("unfinished messages", list(found.lags), [[str(lag) for lag in found.lags.values()]])
    working = [[asset[:8], stage, step, f"{age:.0f} s"] for asset, stage, step, age in found.working]
    yield _table("at work, the longest unchanged first", ["asset", "stage", "step", "since"], working)
    ended = [[asset[:8], state, code, message] for asset, state, code, message in found.ended]
    yield _table("ended last", ["asset", "state", "code", "message"], ended)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, no_wrap=name != "message")
    for row in rows:
        table.add_row(*row)
    return table
