"""DOCX and PPTX (ECMA-376): text by page and slide. Macros and deleted text are never looked at."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from operators.media import opc
from operators.media.packages import Package, attribute, local
from operators.media.pages import PageText, Read, bounded_pages, clean, hidden_of
from schemas.errors import AssetError
from schemas.pipelines import Limits

# Fallback repeats in older terms what its Choice says
_PASSED_BY = frozenset({"Fallback", "del", "moveFrom", "instrText", "pPrChange", "rPrChange"})
_OFF = ("0", "false", "off")
_BREAK = "\f"


def read_docx(package: Package, limits: Limits) -> Read:
    """Text by page, where the writing program noted the pages' ends, else one page up to each break by hand."""
    part = opc.main(package)
    body = next((e for e in package.xml(part) if local(e.tag) == "body"), None)
    if body is None:
        raise AssetError("corrupt_document", "it has no body")
    texts = _Body(_notes(package, part)).pages(body)
    pages = tuple(PageText(number, text) for number, text in enumerate(texts, 1))
    return Read(opc.described(package, "DOCX", "page", bounded_pages(len(pages), limits)), pages, opc.picture(package))


def _notes(package: Package, part: str) -> dict[str, str]:
    """Foot- and endnotes by "footnoteReference 1" and such."""
    kinds = {"footnotes": "footnoteReference", "endnotes": "endnoteReference"}
    found = {kinds[r.kind]: package.xml(r.target) for r in opc.related(package, part) if r.kind in kinds}
    return {
        f"{reference} {attribute(note, 'id')}": " ".join("".join(_Body({}).walk(note)).split())
        for reference, root in found.items()
        for note in root
        if attribute(note, "type") is None
    }


class _Body:
    """Walks a document's body; a page's notes follow its text."""

    def __init__(self, notes: dict[str, str]) -> None:
        self._notes = notes
        self._pending = list[str]()

    def pages(self, body: Element) -> list[str]:
        """The pages' texts, at least one."""
        pages, text, broken_by_hand = list[str](), list[str](), False
        for piece in self.walk(body):
            if piece not in (_BREAK, "rendered"):
                text.append(piece)
                broken_by_hand = broken_by_hand and not piece.strip()
                continue
            # the program notes an end where a break by hand made it already
            if piece == "rendered" and (broken_by_hand or not (pages or "".join(text).strip())):
                continue
            pages.append(self._ended(text))
            text, broken_by_hand = [], piece == _BREAK
        last = self._ended(text)
        return [*pages, last] if last or not pages else pages

    def _ended(self, text: list[str]) -> str:
        notes, self._pending = self._pending, []
        return clean("\n".join(["".join(text), *notes]))

    def walk(self, element: Element) -> Iterator[str]:
        """Pieces of text in reading order; `_BREAK` and "rendered" where a page ends."""
        name = local(element.tag)
        if name in _PASSED_BY:
            return
        if name == "t":
            yield _plain(element.text)
        elif name in _MARKS:
            yield _MARKS[name]
        elif name == "br":
            yield _BREAK if attribute(element, "type") == "page" else "\n"
        elif name == "pageBreakBefore" and attribute(element, "val") not in _OFF:
            yield _BREAK
        elif name in ("footnoteReference", "endnoteReference"):
            self._pending += filter(None, [self._notes.get(f"{name} {attribute(element, 'id')}", "")])
        for child in element:
            yield from self.walk(child)
        if name in _ENDS:
            yield _ENDS[name]


_MARKS = {"tab": "\t", "cr": "\n", "noBreakHyphen": "-", "lastRenderedPageBreak": "rendered"}
_ENDS = {"p": "\n", "tc": "\t", "tr": "\n"}


def _plain(text: str | None) -> str:
    """A text that cannot be taken for a mark."""
    plain = (text or "").replace(_BREAK, " ")
    return "rendered " if plain == "rendered" else plain


def read_pptx(package: Package, limits: Limits) -> Read:
    """Text by slide in the order of showing, hidden ones too, each with its speaker's notes."""
    part = opc.main(package)
    targets = {r.id: r.target for r in opc.related(package, part)}
    listed = [e for above in package.xml(part) if local(above.tag) == "sldIdLst" for e in above]
    slides = [targets.get(_relationship(e), "") for e in listed]
    bounded_pages(len(slides), limits)
    pages = tuple(_slide(package, slide, number) for number, slide in enumerate(slides, 1))
    if not pages:
        raise AssetError("corrupt_document", "it has no slides")
    document = opc.described(package, "PPTX", "slide", len(pages), hidden_of(pages))
    return Read(document, pages, opc.picture(package))


def _relationship(element: Element) -> str:
    """The relationship that an element names; its own plain `id` is another."""
    return next((v for k, v in element.attrib.items() if k.startswith("{") and local(k) == "id"), "")


def _slide(package: Package, part: str, number: int) -> PageText:
    root = package.xml(part)
    notes = next((r.target for r in opc.related(package, part) if r.kind == "notesSlide"), None)
    texts = [_drawn(root), _drawn(package.xml(notes)) if notes in package.names and notes else ""]
    return PageText(number, clean("\n\n".join(texts)), hidden=root.get("show") in _OFF)


def _drawn(root: Element) -> str:
    """The paragraphs of DrawingML below an element, without the slide's number."""
    return "\n".join("".join(_runs(p)) for p in _paragraphs(root))


def _paragraphs(element: Element) -> Iterator[Element]:
    if local(element.tag) == "p" and "drawingml" in element.tag:
        yield element
        return
    for child in element:
        if local(child.tag) != "Fallback":
            yield from _paragraphs(child)


def _runs(paragraph: Element) -> Iterator[str]:
    for run in paragraph:
        if local(run.tag) == "br":
            yield "\n"
        if local(run.tag) == "r" or (local(run.tag) == "fld" and run.get("type") != "slidenum"):
            yield from (e.text or "" for e in run if local(e.tag) == "t")
