"""Documents with known words, written by the field's own libraries, or by hand where none has a free licence."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import docx
import openpyxl
import pptx
from docx.enum.text import WD_BREAK
from odf import dc, meta, opendocument, style, table, text
from PIL import Image

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)
CHAPTER = (
    '<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml"><head><title>{title}</title>'
    "<style>p {{ color: red }}</style><script>unseen()</script></head>"
    "<body><h1>{title}</h1><p>{words}</p></body></html>"
)


def jpeg(colour: tuple[int, int, int] = (200, 40, 40), size: tuple[int, int] = (300, 400)) -> bytes:
    """A picture of one colour."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG", quality=95)
    return out.getvalue()


def png() -> bytes:
    """A small blue picture."""
    out = io.BytesIO()
    Image.new("RGB", (180, 256), (30, 30, 220)).save(out, "PNG")
    return out.getvalue()


def word(path: Path) -> Path:
    """Two pages by a break, a table, a list, a heading; German words; a title and keywords."""
    document = docx.Document()
    document.core_properties.title, document.core_properties.author = "Kaffee von Hand", "R. Öst"
    document.core_properties.keywords, document.core_properties.comments = "coffee; filter", "How to brew"
    document.add_heading("Überblick", 1)
    document.add_paragraph("Fünfzehn Gramm Bohnen").add_run(" mahlen.").bold = True
    document.add_paragraph("erstens", style="List Bullet")
    cells = document.add_table(1, 2).rows[0].cells
    cells[0].text, cells[1].text = "Menge", "250 ml"
    document.add_paragraph().add_run().add_break(WD_BREAK.PAGE)
    document.add_paragraph("Zweite Seite: neun Bar.")
    document.save(str(path))
    return path


def slides(path: Path) -> Path:
    """Three slides, the second hidden, the first with speaker's notes."""
    deck = pptx.Presentation()
    deck.core_properties.title = "Quarterly talk"
    for title, body in (("Opening", "Welcome, everyone"), ("Secret", "Not shown"), ("End", "Thank you")):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, body
    deck.slides[0].notes_slide.notes_text_frame.text = "Smile at the audience"
    deck.slides[1]._element.set("show", "0")
    deck.save(str(path))
    return path


SHOWN = {
    "A1": ("words", "General", "words"), "B1": (1234.5, "#,##0.00", "1,234.50"), "C1": (0.256, "0.0%", "25.6%"),
    "A2": (dt.datetime(2024, 2, 29, 13, 5, 9), "yyyy-mm-dd hh:mm:ss", "2024-02-29 13:05:09"),
    "B2": (dt.time(7, 30), "h:mm AM/PM", "7:30 AM"), "C2": (dt.timedelta(hours=27, minutes=4), "[h]:mm", "27:04"),
    "A3": (-5, '0.00" €";[Red]-0.00" €"', "-5.00 €"), "B3": (True, "General", "TRUE"),
    "C3": (12345678, "0.00E+00", "1.23E+07"), "A4": (0.1 + 0.2, "General", "0.3"),
    "B4": (dt.date(1999, 12, 31), "d mmmm yyyy", "31 December 1999"), "C4": (42, '"No. "000', "No. 042"),
}  # fmt: skip


def sheets(path: Path) -> Path:
    """A sheet of `SHOWN`, a hidden one, and a formula without its value."""
    book = openpyxl.Workbook()
    book.properties.title = "Figures"
    shown = book.active
    shown.title = "Shown"
    for cell, (value, code, _) in SHOWN.items():
        shown[cell] = value
        shown[cell].number_format = code
    shown["E6"] = "far"
    hidden = book.create_sheet("Hidden")
    hidden["A1"] = "salaries"
    hidden.sheet_state = "hidden"
    book.save(path)
    return path


def odt(path: Path) -> Path:
    """Two pages by a style, a table, white space by the format's own elements, a tracked deletion and a comment."""
    document = opendocument.OpenDocumentText()
    document.meta.addElement(dc.Title(text="Open words"))
    document.meta.addElement(dc.Creator(text="A. Writer"))
    document.meta.addElement(meta.Keyword(text="open"))
    new_page = style.Style(name="NewPage", family="paragraph")
    new_page.addElement(style.ParagraphProperties(breakbefore="page"))
    document.automaticstyles.addElement(new_page)
    document.text.addElement(text.H(outlinelevel=1, text="First page"))
    spaced = text.P(text="Two")
    spaced.addElement(text.S(c=2))
    spaced.addElement(text.Span(text="spaces"))
    document.text.addElement(spaced)
    rows = table.Table(name="t")
    row = table.TableRow()
    for word_ in ("left", "right"):
        cell = table.TableCell()
        cell.addElement(text.P(text=word_))
        row.addElement(cell)
    rows.addElement(row)
    document.text.addElement(rows)
    document.text.addElement(text.P(stylename=new_page, text="Second page"))
    document.addThumbnail(png())
    document.save(str(path))
    return path


def zipped(path: Path, parts: Mapping[str, bytes | str]) -> Path:
    """A zip archive of these parts; one named `mimetype` is stored."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data, zipfile.ZIP_STORED if name == "mimetype" else None)
    return path


def epub_parts() -> dict[str, bytes | str]:
    """A book of two chapters, the spine in another order than the manifest, with a red cover."""
    book = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="i">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Small Book</dc:title>'
        "<dc:creator>A. One</dc:creator><dc:creator>B. Two</dc:creator><dc:language>fr</dc:language></metadata>"
        "<manifest>"
        '<item id="b" href="text/b%20b.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="c" href="cover.jpg" media-type="image/jpeg" properties="cover-image"/></manifest>'
        '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
    )
    return {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": book,
        "OEBPS/a.xhtml": CHAPTER.format(title="Un", words="Il &eacute;tait&nbsp;une fois &amp; encore"),
        "OEBPS/text/b b.xhtml": CHAPTER.format(title="Deux", words="La <i>fin</i>.<br/>Vraiment."),
        "OEBPS/cover.jpg": jpeg(),
    }


def epub(path: Path) -> Path:
    """The book of `epub_parts`."""
    return zipped(path, epub_parts())


MARKDOWN = """---
title: "Brewing *by hand*"
author: R. Öst
tags: [coffee, filter]
---

# Overview

Fifteen **grams** of [beans](https://example.org "x"), ground `fine`.

- first
- second
    1. nested

| a | b |
|---|---|
| 1 | 2 |

```python
print("code")
```

<div onclick="unseen()">shown <script>unseen()</script></div>

![a red cup](cup.png)
"""
