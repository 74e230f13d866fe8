"""XLSX spreadsheets (ECMA-376, SpreadsheetML): their cells as shown, a page a sheet. Macros are never looked at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from operators.media import opc
from operators.media.numfmt import BUILT_IN, general, shown
from operators.media.packages import Package, attribute, local
from operators.media.pages import MOST_PART_CHARACTERS, Document, PageText, Read, bounded_pages, clean
from schemas.errors import AssetError
from schemas.pipelines import Limits

_MOST_COLUMNS = 16_384


def quick_xlsx(package: Package, limits: Limits) -> Document:
    """What the workbook says; no sheet is read."""
    book = opc.main(package)
    sheets = [s for s in package.xml(book).iter() if local(s.tag) == "sheet"]
    if not bounded_pages(len(sheets), limits):
        raise AssetError("corrupt_document", "it has no sheets")
    return opc.described(package, "XLSX", "sheet", len(sheets), sum(_is_hidden(s) for s in sheets))


def read_xlsx(package: Package, limits: Limits) -> Read:
    """Each sheet's rows as lines with tabs between cells: values as they were last calculated."""
    document, book = quick_xlsx(package, limits), opc.main(package)
    root, related = package.xml(book), opc.related(package, book)
    targets = {r.id: r.target for r in related}
    table = _Table(package, related, _starts_1904(root))
    pages = []
    for number, sheet in enumerate((s for s in root.iter() if local(s.tag) == "sheet"), 1):
        target = targets.get(attribute(sheet, "id") or "", "")
        text = table.text(target) if "/worksheets/" in f"/{target}" else ""
        pages.append(PageText(number, text, name=sheet.get("name", "")[:200], hidden=_is_hidden(sheet)))
    return Read(document, tuple(pages), opc.picture(package))


def _is_hidden(sheet: Element) -> bool:
    return sheet.get("state", "visible") != "visible"


def _starts_1904(book: Element) -> bool:
    found = next((e for e in book.iter() if local(e.tag) == "workbookPr"), None)
    return found is not None and found.get("date1904") in ("1", "true")


class _Table:
    """What cells refer to: shared strings, and the number format of each cell style."""

    def __init__(self, package: Package, related: list[opc.Related], date1904: bool) -> None:
        self._package, self._date1904 = package, date1904
        parts = {r.kind: r.target for r in related}
        self._strings = self._shared(parts.get("sharedStrings", ""))
        self._formats = self._styles(parts.get("styles", ""))

    def _shared(self, part: str) -> list[str]:
        return [_string(e) for e in self._whole(part, "si")] if part else []

    def _styles(self, part: str) -> list[str]:
        if not part:
            return []
        root = self._package.xml(part)
        own = {e.get("numFmtId"): e.get("formatCode", "") for e in root.iter() if local(e.tag) == "numFmt"}
        ids = [e.get("numFmtId", "0") for above in root if local(above.tag) == "cellXfs" for e in above]
        return [own.get(i, BUILT_IN.get(int(i), "General") if i.isdigit() else "General") for i in ids]

    def _whole(self, part: str, name: str) -> Iterator[Element]:
        """Every element of this name, dropped from memory once it was given."""
        above: list[Element] = []
        for event, element in self._package.elements(part):
            if event == "start":
                above.append(element)
                continue
            above.pop()
            if local(element.tag) == name:
                yield element
                above[-1].clear()

    def text(self, part: str) -> str:
        """The sheet's rows, until a part's most characters."""
        lines, size = list[str](), 0
        for row in self._whole(part, "row"):
            lines.append(self._row(row))
            size += len(lines[-1]) + 1
            if size > MOST_PART_CHARACTERS:
                break
        return clean("\n".join(lines))

    def _row(self, row: Element) -> str:
        """Cells at their columns; empty ones between them keep their tabs."""
        texts = dict[int, str]()
        for cell in row:
            text = " ".join(self._cell(cell).split())
            if text:
                texts[_column(cell.get("r", ""), len(texts))] = text
        return "\t".join(texts.get(i, "") for i in range(max(texts) + 1)) if texts else ""

    def _cell(self, cell: Element) -> str:
        parts = {local(e.tag): e for e in cell}
        kind, value = cell.get("t", "n"), parts["v"].text or "" if "v" in parts else ""
        if kind == "inlineStr":
            return _string(parts["is"]) if "is" in parts else ""
        if kind == "s":
            return self._strings[int(value)] if value.isdigit() and int(value) < len(self._strings) else ""
        if kind == "b":
            return {"1": "TRUE", "0": "FALSE"}.get(value, value)
        return value if kind != "n" else self._number(value, cell.get("s", "0"))

    def _number(self, value: str, style: str) -> str:
        code = self._formats[int(style)] if style.isdigit() and int(style) < len(self._formats) else "General"
        try:
            number = float(value)
            return general(number) if code == "General" else shown(number, code, self._date1904)
        except (ValueError, OverflowError):
            return value


def _string(element: Element) -> str:
    """A string's runs joined, readings aside (phonetic runs repeat the text in another script)."""
    if local(element.tag) == "t":
        return element.text or ""
    return "".join(_string(e) for e in element if local(e.tag) not in ("rPh", "phoneticPr"))


def _column(reference: str, otherwise: int) -> int:
    """A cell's column from 0: `A1` is 0, `AA7` is 26; tabs are not made past the format's last column."""
    letters = re.match(r"[A-Z]{1,3}", reference)
    if letters is None:
        return otherwise
    number = 0
    for letter in letters[0]:
        number = number * 26 + ord(letter) - 64
    return min(number - 1, _MOST_COLUMNS - 1)
