"""What all documents have: a description, and text by page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from operators.media.webp import MadeFile
from schemas.errors import AssetError
from schemas.pipelines import Limits
from schemas.technical import Unit

MOST_PAGE_CHARACTERS = 200_000
# of a part without pages of its own, such as a chapter or a sheet, or a whole document that notes no page's end
MOST_PART_CHARACTERS = 4_000_000


@dataclass(frozen=True)
class Document:
    """What a document is. `page_sizes` (width, height) in points (1/72 inch), as shown; dates as the format has them.

    `unit` is what its pages are: page, slide, sheet or chapter; `hidden` counts those that are not shown.
    """

    format: str
    version: str | None
    pages: int
    title: str | None
    author: str | None
    subject: str | None
    keywords: str | None
    created: str | None
    encrypted: bool
    page_sizes: tuple[tuple[float, float], ...] = ()
    unit: Unit = "page"
    language: str | None = None
    hidden: int = 0
    macros: bool = False


@dataclass(frozen=True)
class PageText:
    """A page, from 1: its text, and whether it looks like a scan, which only OCR can read.

    `name` is that of a sheet, chapter or section; `hidden` that it is not shown.
    """

    page: int
    text: str
    scanned: bool = False
    name: str = ""
    hidden: bool = False


@dataclass(frozen=True)
class Read:
    """A document that was read: what it is, its pages, and its own picture (bytes of an image file) or none."""

    document: Document
    pages: tuple[PageText, ...]
    picture: bytes | None = None


def clean(text: str) -> str:
    """A page's text: lines ended by a line feed, no NUL, no more than one empty line together, 4,000,000 characters."""
    lines = [line.rstrip() for line in text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    kept = [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]
    return "\n".join(kept).strip()[:MOST_PART_CHARACTERS]


def known(text: str | None) -> str | None:
    """A description's text, at most 1,000 characters; None where there is none."""
    return " ".join((text or "").replace("\0", "").split())[:1000] or None


def bounded_pages(count: int, limits: Limits) -> int:
    """The same number. Raises too_many_pages."""
    if count > limits.pages:
        raise AssetError("too_many_pages", f"{count} pages, limit {limits.pages}")
    return count


def write_text(pages: Iterable[PageText], out_dir: Path) -> tuple[MadeFile, MadeFile]:
    """Writes `text.txt`, a form feed between pages, and `text.json`, `{"pages": [{"page": 1, "text": "…"}]}`."""
    pages = list(pages)
    plain, paged = out_dir / "text.txt", out_dir / "text.json"
    plain.write_text("\f".join(p.text for p in pages) + "\n", "utf-8")
    paged.write_text(json.dumps({"pages": [_listed(p) for p in pages]}, ensure_ascii=False), "utf-8")
    return (
        MadeFile(plain.name, "text", "text/plain", 0, 0, plain.stat().st_size),
        MadeFile(paged.name, "text_json", "application/json", 0, 0, paged.stat().st_size),
    )


def _listed(page: PageText) -> dict[str, object]:
    rest = {"name": page.name, "hidden": page.hidden}
    return {"page": page.page, "text": page.text} | {key: value for key, value in rest.items() if value}


def hidden_of(pages: Sequence[PageText]) -> int:
    """How many of the pages are not shown."""
    return sum(page.hidden for page in pages)
