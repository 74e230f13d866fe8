"""Plain text and Markdown: decoded, and read by page."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from charset_normalizer import from_bytes

from operators.media.lines import COLUMNS, ROWS, Line, paged, wrapped
from operators.media.markdown import front_matter, rendered
from operators.media.pages import Document, PageText, Read, bounded_pages, known
from schemas.errors import AssetError
from schemas.pipelines import Limits

_GUESSED_FROM = 65_536
# UTF-32's little-endian mark begins with UTF-16's, so it is looked for first
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
# a form feed starts a page, and escape begins a terminal's colours; no text has the others
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def decoded(data: bytes) -> tuple[str, str]:
    """Text and the name of its encoding: by its mark, UTF-8, else as the bytes' statistics say.

    Raises unsupported_type where there are control characters, corrupt_document where the mark is wrong.
    """
    text, encoding = _decoded(data)
    if found := _CONTROL.search(text):
        raise AssetError("unsupported_type", f"a control character U+{ord(found[0]):04X} in text as {encoding}")
    return text.replace("\r\n", "\n").replace("\r", "\n"), encoding


def _decoded(data: bytes) -> tuple[str, str]:
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    try:
        return data.decode(marked or "utf-8"), (marked or "utf-8").removesuffix("-sig")
    except UnicodeDecodeError as error:
        if marked:
            raise AssetError("corrupt_document", f"it is no {marked}, as its first bytes say") from error
    guess = from_bytes(data[:_GUESSED_FROM]).best()
    for name in (guess.encoding if guess else "cp1252", "cp1252"):
        try:
            return data.decode(name), name
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1"), "latin-1"


def lines_of(path: Path, markdown: bool, limits: Limits) -> tuple[list[Line], dict[str, str]]:
    """The lines as they are laid out, and the front matter.

    Raises unsupported_type, corrupt_document, too_many_pages.
    """
    size, most = path.stat().st_size, limits.pages * COLUMNS * ROWS * 4
    if size > most:
        raise AssetError("too_many_pages", f"{size} bytes of text, limit {limits.pages} pages")
    text, _ = decoded(path.read_bytes())
    matter, body = front_matter(text) if markdown else ({}, text)
    return list(wrapped(rendered(body) if markdown else map(Line, body.split("\n")))), matter


def read_text(path: Path, markdown: bool, limits: Limits) -> Read:
    """The text by page; of Markdown without its markup, a page named by the first heading on it."""
    lines, matter = lines_of(path, markdown, limits)
    laid = paged(lines)
    pages = tuple(PageText(number, _text(page), name=_heading(page)) for number, page in enumerate(laid, 1))
    return Read(_described(matter, markdown, bounded_pages(len(pages), limits), pages[0].name), pages)


def _text(page: list[Line]) -> str:
    return "\n".join(line.text for line in page).strip("\n")


def _heading(page: list[Line]) -> str:
    return next((line.text.strip()[:200] for line in page if line.heading), "")


def _described(matter: dict[str, str], markdown: bool, pages: int, heading: str) -> Document:
    return Document(
        format="Markdown" if markdown else "text", version=None, pages=pages,
        title=known(matter.get("title") or heading),
        author=known(matter.get("author") or matter.get("authors")), subject=known(matter.get("description")),
        keywords=known(matter.get("tags") or matter.get("keywords")), created=known(matter.get("date")),
        encrypted=False, language=known(matter.get("lang") or matter.get("language")),
    )  # fmt: skip
