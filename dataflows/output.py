"""What commands print: tables for people, or with --json one object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.errors import State

STYLES = {State.COMPLETED: "green", State.FAILED: "red", State.REJECTED: "red", State.PROCESSING: "blue"}


@dataclass(frozen=True)
class Output:
    """Objects to stdout as JSON lines, or tables; messages and progress always go to stderr."""

    as_json: bool

    @property
    def notes(self) -> Console:
        """Where progress and messages go."""
        return Console(stderr=True)

    def rows(self, objects: Iterable[BaseModel | dict[str, Any]], columns: Sequence[str], title: str = "") -> None:
        """The objects as JSON lines, or these columns of them as a table."""
        dumped = [o.model_dump(mode="json") if isinstance(o, BaseModel) else o for o in objects]
        if self.as_json:
            for found in dumped:
                self.line(found)
            return
        table = Table(
            *columns, title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold"
        )
        for found in dumped:
            table.add_row(*(cell(name, found.get(name)) for name in columns))
        Console().print(table)

    def line(self, found: Any) -> None:
        """One JSON object."""
        sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")

    def text(self, found: str) -> None:
        """Text as it is."""
        sys.stdout.write(found.rstrip("\n") + "\n")


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
