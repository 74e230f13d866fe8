"""Lines of text laid out on pages of 80 columns and 60 rows."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

COLUMNS, ROWS = 80, 60
NEW_PAGE = "\f"


@dataclass(frozen=True)
class Line:
    """A line: its characters, and whether it is part of a heading. A form feed alone starts a page."""

    text: str
    heading: bool = False


def wrapped(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines cut at 80 characters, between words where they have some; continued at their indent."""
    for line in lines:
        for number, part in enumerate(line.text.split(NEW_PAGE)):
            if number:
                yield Line(NEW_PAGE)
            yield from (Line(piece, line.heading) for piece in _pieces(part.expandtabs(4).rstrip()))


def _pieces(text: str) -> list[str]:
    if len(text) <= COLUMNS:
        return [text]
    indent = " " * min(len(text) - len(text.lstrip()), COLUMNS // 2)
    return textwrap.wrap(text, COLUMNS, subsequent_indent=indent) or [""]


def paged(lines: Iterable[Line]) -> list[list[Line]]:
    """Pages of at most 60 lines, at least one page; empty ones at the end are dropped."""
    pages = list[list[Line]]([[]])
    for line in lines:
        if line.text == NEW_PAGE or len(pages[-1]) == ROWS:
            pages.append([])
        if line.text != NEW_PAGE:
            pages[-1].append(line)
    while len(pages) > 1 and not any(line.text for line in pages[-1]):
        pages.pop()
    return pages
