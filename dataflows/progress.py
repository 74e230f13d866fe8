"""Live progress of a run: a line for each asset and step that is being worked on, and how many assets have ended."""

from __future__ import annotations

import threading
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from schemas.errors import State
from schemas.events import StatusChanged
from schemas.fold import is_end

SYMBOLS = {
    State.COMPLETED: ("✓", "green"), State.SKIPPED: ("-", "dim"), State.FAILED: ("✗", "red"),
    State.REJECTED: ("✗", "red"), State.DUPLICATE: ("=", "cyan"), State.PENDING: ("↻", "yellow"),
    State.PROCESSING: ("…", "blue"),
}  # fmt: skip
MOST_LINES, BAR_WIDTH = 12, 30


class Progress:
    """Takes events from any thread. It prints a line for each step's end, and on a terminal what is running."""

    def __init__(self, console: Console, names: dict[str, str]) -> None:
        self.names = names
        self._console = console
        self._lock = threading.Lock()
        self._running: dict[tuple[str, str, str], None] = {}
        self._ended: set[str] = set()
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, event: StatusChanged) -> None:
        """One change of state."""
        with self._lock:
            key = (event.asset_id, event.stage, event.step)
            if event.state == State.PROCESSING:
                self._running[key] = None
            else:
                self._running.pop(key, None)
                self._print(event)
            if is_end(event):
                self._ended.add(event.asset_id)
            if self._live:
                self._live.update(self._drawn(), refresh=True)

    def _name(self, asset_id: str) -> str:
        return self.names.get(asset_id, asset_id[:8])

    def _print(self, event: StatusChanged) -> None:
        bad = event.state in (State.FAILED, State.REJECTED, State.PENDING)
        if not event.step and not bad and event.state != State.DUPLICATE:
            return
        symbol, style = SYMBOLS[event.state]
        line = Text.assemble((f"{symbol} ", style), f"{self._name(event.asset_id)}  ", (_step(event), "bold"))
        if event.cached:
            line.append("  found", "dim")
        elif event.duration_s:
            line.append(f"  {event.duration_s:.2f} s", "dim")
        if event.code:
            line.append(f"  {event.code}: {event.message}" if bad else f"  {event.code}", style)
        self._console.print(line, soft_wrap=True)

    def _drawn(self) -> Table:
        table = Table.grid(padding=(0, 2))
        running = [key for key in self._running if key[2]] or list(self._running)
        for asset, stage, step in running[:MOST_LINES]:
            table.add_row(Text("…", "blue"), self._name(asset), Text(f"{stage} {step}", "bold"))
        if len(running) > MOST_LINES:
            table.add_row("", f"and {len(running) - MOST_LINES} more steps", "")
        if total := len(self.names):
            ended = len(self._ended.intersection(self.names))
            table.add_row("", ProgressBar(total, ended, BAR_WIDTH), f"{ended} of {total} assets")
        return table


def _step(event: StatusChanged) -> str:
    return f"{event.stage} {event.step}".strip()
