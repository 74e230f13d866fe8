"""Pages of text as a PDF by PDFium, in the fonts that every reader of PDF has (ISO 32000-1, 9.6.2.2)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from operators.media.lines import COLUMNS, NEW_PAGE, Line

# A4 in points; Courier is 0.6 of its size wide, so 80 columns of 10 pt are 480 points
PAGE = (595, 842)
_SIZE, _LEADING = 10.0, 12.0
_LEFT, _TOP = (PAGE[0] - COLUMNS * 0.6 * _SIZE) / 2, 72.0


def drawable(lines: Iterable[Line]) -> bool:
    """Whether the standard fonts have all of the characters: those of Windows-1252."""
    try:
        for line in lines:
            line.text.replace(NEW_PAGE, "").encode("cp1252")
    except UnicodeEncodeError:
        return False
    return True


def typeset(pages: Iterable[list[Line]], path: Path) -> None:
    """Writes an A4 page for each, in Courier of 10 points, headings in bold."""
    with closing(pdfium.PdfDocument.new()) as document:
        fonts = [raw.FPDFText_LoadStandardFont(document.raw, name) for name in (b"Courier", b"Courier-Bold")]
        for lines in pages:
            with closing(document.new_page(*PAGE)) as page:
                for number, line in enumerate(lines):
                    if line.text.strip():
                        _write(document, page, fonts[line.heading], line.text, PAGE[1] - _TOP - number * _LEADING)
                page.gen_content()
        for font in fonts:
            raw.FPDFFont_Close(font)
        document.save(path)


def _write(document: pdfium.PdfDocument, page: pdfium.PdfPage, font: object, text: str, height: float) -> None:
    """One line, its base line `height` points above the page's lower edge."""
    indent = len(text) - len(text.lstrip())
    written = raw.FPDFPageObj_CreateTextObj(document.raw, font, _SIZE)
    wide = ctypes.create_string_buffer((text.strip() + "\0").encode("utf-16-le"))
    raw.FPDFText_SetText(written, ctypes.cast(wide, raw.FPDF_WIDESTRING))
    raw.FPDFPageObj_Transform(written, 1, 0, 0, 1, _LEFT + indent * 0.6 * _SIZE, height)
    raw.FPDFPage_InsertObject(page.raw, written)
