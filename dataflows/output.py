"""What commands print: tables for people, or with --json one object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from schemas.errors import State

STYLES = {State.COMPLETED: "green", State.FAILED: "red", State.REJECTED: "red", State.PROCESSING: "blue"}

FOLDED = ("message", "text")
PIPED_WIDTH = 160


@dataclass(frozen=True)
class Output:
    """Objects to stdout as JSON lines, or tables; messages and progress always go to stderr."""

    as_json: bool

    @property
    def notes(self) -> Console:
        """Where progress and messages go."""
        return Console(stderr=True)

    def rows(
        self, objects: Iterable[BaseModel | dict[str, Any]], columns: Sequence[str], title: str = "", below: str = ""
    ) -> None:
        """The objects as JSON lines, or these columns of them as a table; `below` names what has a line of its own."""
        dumped = [o.model_dump(mode="json") if isinstance(o, BaseModel) else o for o in objects]
        if self.as_json:
            for found in dumped:
                self.line(found)
            return
        lines = [[cell(name, found.get(name)) for name in columns] for found in dumped]
        widths = [max([len(name), *(line[i].cell_len for line in lines)]) for i, name in enumerate(columns)]
        console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
        if title:
            console.print(title, style="italic")
        console.print(_line(columns, widths, [Text(name, "bold") for name in columns]))
        for texts, found in zip(lines, dumped, strict=True):
            console.print(_line(columns, widths, texts))
            if below:
                console.print(Padding(Text(str(found.get(below) or "-"), "dim"), (0, 0, 0, 2)))

    def line(self, found: Any) -> None:
        """One JSON object."""
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")

    def text(self, found: str) -> None:
        """Text as it is."""
        sys.stdout.write(found.rstrip("\n") + "\n")


def _line(columns: Sequence[str], widths: Sequence[int], texts: Sequence[Text]) -> Table:
    """A line of a table whose columns stand below each other; only text that people write is folded."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, width in zip(columns, widths, strict=True):
        grid.add_column(width=None if name in FOLDED else width, no_wrap=name not in FOLDED)
    grid.add_row(*texts)
    return grid


def cell(name: str, value: Any) -> Text:
    """A value in a table."""
    if value is None or value == []:
        return Text("")
    if name == "state":
        return Text(str(value), STYLES.get(value, ""))
    if name == "bytes":
        return Text(size(value), justify="right")
    if isinstance(value, list):
        return Text("\n".join(map(str, value)))
    if isinstance(value, float):
        return Text(f"{value:.3f}", justify="right")
    return Text(str(value))


def size(count: float) -> str:
    """Bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
