"""Markdown (CommonMark 0.31 with tables, strikethrough and front matter) as lines without its markup."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from operators.media.html import words
from operators.media.lines import Line

_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FIELD, _ITEM = re.compile(r"([A-Za-z][\w -]*):[ \t]*(.*)"), re.compile(r"\s*-\s+(.*)")


def front_matter(text: str) -> tuple[dict[str, str], str]:
    """The fields `name: value` between `---` lines at the top, names in lower case, and the text after them.

    Of YAML that is all: a list, in brackets or a line an item, becomes its items joined by commas.
    """
    found = _MATTER.match(text)
    if found is None:
        return {}, text
    fields, name = dict[str, list[str]](), ""
    for line in found[1].split("\n"):
        if field := _FIELD.match(line):
            name, value = field[1].lower(), field[2].strip()
            fields[name] = value[1:-1].split(",") if value[:1] == "[" else [value]
        elif name and (item := _ITEM.match(line)):
            fields[name].append(item[1])
    plain = {name: (value.strip().strip("\"'") for value in values) for name, values in fields.items()}
    return {name: ", ".join(filter(None, values)) for name, values in plain.items()}, text[found.end() :]


def rendered(body: str) -> list[Line]:
    """Lines of the blocks, an empty one between them; items of lists have a dash or their number."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body)
    blocks = _Blocks()
    return [line for token in tokens for line in blocks.lines(token)]


class _Blocks:
    """What is open at a token: lists with their next number (0 for dashes), a heading, a table's row."""

    def __init__(self) -> None:
        self._lists = list[int]()
        self._mark = ""
        self._heading = False
        self._cells: list[str] | None = None

    def lines(self, token: Token) -> Iterator[Line]:
        """The lines that end with this token."""
        found: Any = getattr(self, f"_{token.type}", None)
        return found(token) if found else iter(())

    def _bullet_list_open(self, _: Token) -> Iterator[Line]:
        self._lists.append(0)
        return iter(())

    def _ordered_list_open(self, token: Token) -> Iterator[Line]:
        self._lists.append(int(token.attrs.get("start", 1)))
        return iter(())

    def _bullet_list_close(self, _: Token) -> Iterator[Line]:
        self._lists.pop()
        return iter(() if self._lists else (Line(""),))

    _ordered_list_close = _bullet_list_close

    def _list_item_open(self, _: Token) -> Iterator[Line]:
        number = self._lists[-1]
        self._mark = f"{number}. " if number else "- "
        self._lists[-1] += 1 if number else 0
        return iter(())

    def _heading_open(self, _: Token) -> Iterator[Line]:
        self._heading = True
        return iter(())

    def _heading_close(self, _: Token) -> Iterator[Line]:
        self._heading = False
        return iter(())

    def _tr_open(self, _: Token) -> Iterator[Line]:
        self._cells = []
        return iter(())

    def _tr_close(self, _: Token) -> Iterator[Line]:
        cells, self._cells = self._cells, None
        yield Line("  ".join(cells or ()))

    def _table_close(self, _: Token) -> Iterator[Line]:
        yield Line("")

    def _inline(self, token: Token) -> Iterator[Line]:
        if self._cells is not None:
            self._cells.append(_words(token))
            return
        indent = "    " * (len(self._lists) - 1)
        first, rest = (indent + self._mark, indent + "  ") if self._lists else ("", "")
        self._mark = "  "
        for number, part in enumerate(_words(token).split("\n")):
            yield Line((rest if number else first) + part, self._heading)
        if not self._lists:
            yield Line("")

    def _code_block(self, token: Token) -> Iterator[Line]:
        yield from (Line("    " + line) for line in token.content.rstrip("\n").split("\n"))
        yield Line("")

    _fence = _code_block

    def _html_block(self, token: Token) -> Iterator[Line]:
        yield from (Line(line) for line in (*words(token.content)[0].split("\n"), ""))

    def _hr(self, _: Token) -> Iterator[Line]:
        yield from (Line("-" * 20), Line(""))


def _words(token: Token) -> str:
    """Text without markup; an image is its description."""
    return "".join(_word(child) for child in token.children or ())


def _word(child: Token) -> str:
    if child.type in ("softbreak", "hardbreak"):
        return "\n" if child.type == "hardbreak" else " "
    if child.type == "image":
        return _words(child)
    return child.content if child.type in ("text", "code_inline") else ""
