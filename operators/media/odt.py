"""ODT text documents (OASIS OpenDocument 1.3): text by page as the writing program noted the pages' ends."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from operators.media.packages import Package, attribute, local
from operators.media.pages import Document, PageText, Read, bounded_pages, clean, known
from schemas.errors import AssetError
from schemas.pipelines import Limits

_PASSED_BY = frozenset({"tracked-changes", "annotation", "annotation-end", "sequence-decls", "forms", "note-citation"})
_PICTURE, _MOST_PICTURE = "Thumbnails/thumbnail.png", 32 * 2**20
_MOST_SPACES = 1000


def read_odt(package: Package, limits: Limits) -> Read:
    """The text, its pages and its description. Raises encrypted_document."""
    manifest = package.xml("META-INF/manifest.xml")
    if any(local(e.tag) == "encryption-data" for e in manifest.iter()):
        raise AssetError("encrypted_document", "its parts are encrypted")
    content = package.xml("content.xml")
    body = next((e for e in content.iter() if local(e.tag) == "text" and "office" in e.tag), None)
    if body is None:
        raise AssetError("corrupt_document", "it has no text")
    before, after = _breaking(content, "break-before"), _breaking(content, "break-after")
    texts = "".join(_walk(body, before, after)).split("\f")
    texts = texts if texts[0].strip() or len(texts) == 1 else texts[1:]
    pages = tuple(PageText(number, clean(text)) for number, text in enumerate(texts, 1))
    data = package.read(_PICTURE) if _PICTURE in package.names else None
    picture = data if data and len(data) <= _MOST_PICTURE else None
    return Read(_described(package, content, bounded_pages(len(pages), limits)), pages, picture)


def _breaking(content: Element, which: str) -> frozenset[str | None]:
    """The styles whose paragraphs start, or end, a page."""
    return frozenset(
        attribute(style, "name")
        for style in content.iter()
        if local(style.tag) == "style" and any(attribute(e, which) == "page" for e in style)
    )


def _walk(element: Element, before: frozenset[str | None], after: frozenset[str | None]) -> Iterator[str]:
    """Text in reading order, a form feed where a page ends."""
    name = local(element.tag)
    if name in _PASSED_BY:
        return
    if name == "s":
        yield " " * min(int(attribute(element, "c") or 1), _MOST_SPACES)
    elif name in _MARKS:
        yield _MARKS[name]
    paragraph = name in ("p", "h")
    style = attribute(element, "style-name") if paragraph else None
    yield "\f" if style is not None and style in before else ""
    yield _spaced(element.text) if paragraph or name in _INLINE else ""
    for child in element:
        yield from _walk(child, before, after)
        yield _spaced(child.tail) if paragraph or name in _INLINE else ""
    yield _ENDS.get(name, "")
    yield "\f" if style is not None and style in after else ""


_INLINE = frozenset({"span", "a", "ruby-base", "title", "bookmark-ref", "date", "time", "page-number", "subject"})
_MARKS = {"tab": "\t", "line-break": "\n", "soft-page-break": "\f"}
_ENDS = {"p": "\n", "h": "\n", "table-cell": "\t", "table-row": "\n"}


def _spaced(text: str | None) -> str:
    """Runs of white space are one space, as the format has it; form feeds are ours."""
    if not text:
        return ""
    return (
        (" " if text[0].isspace() else "")
        + " ".join(text.split())
        + (" " if text.strip() and text[-1].isspace() else "")
    )


def _described(package: Package, content: Element, pages: int) -> Document:
    root = package.xml("meta.xml") if "meta.xml" in package.names else content
    facts: dict[str, str | None] = {}
    for element in root.iter():
        facts.setdefault(local(element.tag), known(element.text))
    words = ", ".join(e.text for e in root.iter() if local(e.tag) == "keyword" and e.text)
    return Document(
        format="ODT", version=attribute(content, "version"), pages=pages, title=facts.get("title"),
        author=facts.get("initial-creator") or facts.get("creator"),
        subject=facts.get("description") or facts.get("subject"), keywords=known(words),
        created=facts.get("creation-date"), encrypted=False, language=facts.get("language"),
        macros=any(name.startswith("Basic/") for name in package.names),
    )  # fmt: skip
