"""Documents of all formats: their words by page, what they say of themselves, and what they are told by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import document_factory as made
import docx
import openpyxl
import pypdf
import pypdfium2 as pdfium
import pytest
from PIL import Image

from operators.media import documents
from operators.media.content_type import detect, sample_of
from operators.media.numfmt import shown
from operators.media.types import DOCX, EPUB, MARKDOWN, ODT, PPTX, TEXT, XLSX, as_named, check_declared, is_media_name
from schemas.errors import AssetError
from schemas.pipelines import Limits

LIMITS = Limits()
WRITERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "docx": (DOCX, made.word), "pptx": (PPTX, made.slides), "xlsx": (XLSX, made.sheets), "odt": (ODT, made.odt),
    "epub": (EPUB, made.epub),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One document of each format, named by it."""
    folder = tmp_path_factory.mktemp("documents")
    for name, (_, write) in WRITERS.items():
        write(folder / f"a.{name}")
    (folder / "a.md").write_text(made.MARKDOWN, "utf-8")
    return folder


@pytest.mark.parametrize("name", WRITERS)
def test_formats_are_told_by_content(folder: Path, tmp_path: Path, name: str) -> None:
    """A document's type is found with no help from its name, and its own name and type are no contradiction."""
    (tmp_path / "nameless").write_bytes((folder / f"a.{name}").read_bytes())
    found = detect(sample_of(tmp_path / "nameless"))
    assert (found.media_type, found.kind) == (WRITERS[name][0], "document")
    check_declared(found, found.media_type, f"a.{name}")
    with pytest.raises(AssetError, match="type_mismatch"):
        check_declared(found, None, "a.pdf")
    assert is_media_name(f"a.{name}")


@pytest.mark.parametrize(
    ("name", "declared", "media_type"),
    [("notes.md", None, MARKDOWN), ("README.markdown", "text/plain", MARKDOWN), ("notes.txt", None, TEXT),
     ("notes", "text/markdown; charset=utf-8", MARKDOWN), ("notes", "text/plain", TEXT)],
)  # fmt: skip
@pytest.mark.parametrize("words", ["import os\n\nprint(os.name)\n" * 5, "a,b,c\n1,2,3\n" * 9, made.MARKDOWN, "hello\n"])
def test_text_is_what_it_is_named(tmp_path: Path, name: str, declared: str | None, media_type: str, words: str) -> None:
    """Text named as Markdown or plain text is taken for that, whatever its words look like; never from a folder."""
    (tmp_path / "x").write_text(words, "utf-8")
    found = as_named(detect(sample_of(tmp_path / "x")), declared, name)
    check_declared(found, declared, name)
    assert (found.media_type, found.kind) == (media_type, "document")
    assert not is_media_name(name)


def texts(folder: Path, name: str, media_type: str) -> list[str]:
    """The texts of a document's pages, as they are written to text.json."""
    out = folder / f"{name}-out"
    out.mkdir(exist_ok=True)
    documents.write_read(folder / f"a.{name}", out, media_type, LIMITS)
    return [page["text"] for page in json.loads((out / "text.json").read_text("utf-8"))["pages"]]


def test_word_by_page(folder: Path) -> None:
    """A break by hand ends a page; headings, tables and properties are read, and the words are python-docx's."""
    first, second = texts(folder, "docx", DOCX)
    assert first.startswith("Überblick\nFünfzehn Gramm Bohnen mahlen.\nerstens\nMenge")
    assert "250 ml" in first and second == "Zweite Seite: neun Bar."
    theirs = " ".join(p.text for p in docx.Document(str(folder / "a.docx")).paragraphs).split()
    assert set(theirs) <= set(f"{first} {second}".split())
    found = documents.check(folder / "a.docx", DOCX, LIMITS)
    assert (found.pages, found.unit, found.title, found.author) == (2, "page", "Kaffee von Hand", "R. Öst")
    assert (found.keywords, found.subject, found.macros) == ("coffee; filter", "How to brew", False)


def test_word_pages_as_the_writer_saw_them(tmp_path: Path) -> None:
    """Pages' ends that the writing program noted count once, beside breaks by hand too; deleted words are not read."""
    document = docx.Document()
    for words in ("one", "two", "three"):
        run = document.add_paragraph().add_run()
        if words == "two":
            run._r.append(run._r.makeelement(docx.oxml.ns.qn("w:lastRenderedPageBreak")))
        if words == "three":
            run.add_break(docx.enum.text.WD_BREAK.PAGE)
            run._r.append(run._r.makeelement(docx.oxml.ns.qn("w:lastRenderedPageBreak")))
        run.add_text(words)
    gone = document.paragraphs[0]._p.makeelement(docx.oxml.ns.qn("w:del"))
    gone.append(document.add_paragraph("gone").runs[0]._r)
    document.paragraphs[0]._p.append(gone)
    document.save(str(tmp_path / "a.docx"))
    assert texts(tmp_path, "docx", DOCX) == ["one", "two", "three"]


def test_slides(folder: Path) -> None:
    """A page a slide with its notes; a slide that is not shown is told."""
    assert texts(folder, "pptx", PPTX) == [
        "Opening\nWelcome, everyone\n\nSmile at the audience", "Secret\nNot shown", "End\nThank you",
    ]  # fmt: skip
    found = documents.quick(folder / "a.pptx", PPTX, LIMITS)
    assert (found.pages, found.unit, found.hidden, found.title) == (3, "slide", 1, "Quarterly talk")


def test_sheets_show_what_people_see(folder: Path) -> None:
    """Cells read as their formats show them, at their columns; a hidden sheet is read, and told."""
    first, second = texts(folder, "xlsx", XLSX)
    cells = [line.split("\t") for line in first.split("\n")]
    for cell, (_, _, expected) in made.SHOWN.items():
        assert cells[int(cell[1]) - 1]["ABC".index(cell[0])] == expected, cell
    assert first.endswith("\t\t\t\tfar") and second == "salaries"
    theirs = openpyxl.load_workbook(folder / "a.xlsx").sheetnames
    pages = json.loads((folder / "xlsx-out/text.json").read_text())["pages"]
    assert [page["name"] for page in pages] == theirs and pages[1]["hidden"] and "hidden" not in pages[0]
    found = documents.quick(folder / "a.xlsx", XLSX, LIMITS)
    assert (found.pages, found.unit, found.hidden, found.title) == (2, "sheet", 1, "Figures")


@pytest.mark.parametrize(
    ("value", "code", "expected"),
    [(45351.5, "yyyy-mm-dd hh:mm", "2024-02-29 12:00"), (1, "d.m.yy", "1.1.00"), (60, "d.m.yyyy", "28.2.1900"),
     (0.999999, "h:mm:ss", "0:00:00"), (1.5, "0.##", "1.5"), (2, "0.##", "2"), (0.5, "#.00", ".50"),
     (1_500_000, '#,##0.0,,"M"', "1.5M"), (-0.5, "0%", "-50%"), (7, "00000", "00007"), (0, '0;-0;"none"', "none"),
     (3, "[$€-407] #,##0.00", "€ 3.00"), (45.5 / 86400, "mm:ss.0", "00:45.5"), (5, "@", "5"), (-1, "yyyy", "-1"),
     (1234, '"m"0', "m1234"), (1e300, "yyyy", "1e+300")],
)  # fmt: skip
def test_number_formats(value: float, code: str, expected: str) -> None:
    """Numbers, dates, times, percent and literal texts are shown as spreadsheets do; an impossible date is a number."""
    assert shown(value, code) == expected


def test_open_document(folder: Path) -> None:
    """Pages by style, white space by its elements, tables and description."""
    assert texts(folder, "odt", ODT) == ["First page\nTwo  spaces\nleft\n\tright", "Second page"]
    found = documents.quick(folder / "a.odt", ODT, LIMITS)
    assert (found.pages, found.title, found.author, found.keywords) == (2, "Open words", "A. Writer", "open")


def test_book_by_chapter(folder: Path, tmp_path: Path) -> None:
    """Chapters come in the spine's order, without markup or script; the cover is the poster, in its own colour."""
    assert texts(folder, "epub", EPUB) == ["Un\nIl était une fois & encore", "Deux\nLa fin.\nVraiment."]
    found = documents.quick(folder / "a.epub", EPUB, LIMITS)
    assert (found.pages, found.unit, found.title, found.author) == (2, "chapter", "Small Book", "A. One, B. Two")
    assert (found.language, found.version) == ("fr", "3.0")
    picture = documents.own_picture(folder / "a.epub", tmp_path, EPUB, 90, LIMITS)
    with Image.open(tmp_path / "poster.webp") as poster:
        assert poster.size == (300, 400) and picture.thumbhash
        assert max(abs(a - b) for a, b in zip(poster.getpixel((150, 200)), (200, 40, 40), strict=True)) < 8


def test_pictures_that_documents_carry(folder: Path, tmp_path: Path) -> None:
    """A first page's thumbnail is the poster; none, or a damaged one, is no error."""
    assert documents.own_picture(folder / "a.pptx", tmp_path, PPTX, 80, LIMITS).files
    assert documents.own_picture(folder / "a.odt", tmp_path, ODT, 80, LIMITS).files
    assert not documents.own_picture(folder / "a.xlsx", tmp_path, XLSX, 80, LIMITS).files
    parts = made.epub_parts() | {"OEBPS/cover.jpg": made.jpeg()[:200]}
    assert not documents.own_picture(made.zipped(tmp_path / "x", parts), tmp_path, EPUB, 80, LIMITS).files


def test_markdown_without_markup(folder: Path) -> None:
    """Markup, addresses and scripts go, words stay; front matter describes the document."""
    (text,) = texts(folder, "md", MARKDOWN)
    assert text.split("\n") == [
        "Overview", "", "Fifteen grams of beans, ground fine.", "", "- first", "- second", "    1. nested", "", "a  b",
        "1  2", "", '    print("code")', "", "shown", "", "a red cup",
    ]  # fmt: skip
    found = documents.quick(folder / "a.md", MARKDOWN, LIMITS)
    assert (found.title, found.author, found.keywords) == ("Brewing *by hand*", "R. Öst", "coffee, filter")
    assert json.loads((folder / "md-out/text.json").read_text())["pages"][0]["name"] == "Overview"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be+mark", "cp1252", "cp1251"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    """Text is read in its encoding, by its mark or by what its bytes look like."""
    words = "Съешь же ещё этих мягких булок. " if encoding == "cp1251" else "Größe und Maß, wie früher schöne Züge. "
    name, _, mark = encoding.partition("+")
    data = (("\ufeff" if mark else "") + words * 20).encode(name)
    (tmp_path / "a.txt").write_bytes(data)
    assert words.strip() in " ".join(" ".join(texts(tmp_path, "txt", TEXT)).split())


def test_text_is_drawn_as_it_is_read(tmp_path: Path) -> None:
    """The PDF of a text has its pages, at 60 lines and at form feeds, and its words as pypdf and PDFium read them."""
    lines = [f"Line {n}: Größe “{n}” … {n} €" for n in range(61)]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\fnew page\n" + "word " * 40, "utf-8")
    assert documents.write_pdf(tmp_path / "a.txt", tmp_path, TEXT, LIMITS)
    pages = texts(tmp_path, "txt", TEXT)
    theirs = pypdf.PdfReader(tmp_path / "document.pdf").pages
    assert [len(page.split("\n")) for page in pages] == [60, 1, 4] and len(theirs) == 3
    assert [page.extract_text().split() for page in theirs] == [page.split() for page in pages]
    with pdfium.PdfDocument(tmp_path / "document.pdf") as drawn:
        assert drawn[0].get_textpage().get_text_bounded().split() == pages[0].split()
        ink = drawn[2].render(scale=1).to_pil().convert("L").point(lambda v: v < 128 and 255).getbbox()
    assert ink and 50 < ink[0] < 70 and 60 < ink[1] < 75 and ink[2] < 540


def test_headings_are_drawn_bold(folder: Path, tmp_path: Path) -> None:
    """A heading of Markdown is in the bold font, as pypdf sees it."""
    assert documents.write_pdf(folder / "a.md", tmp_path, MARKDOWN, LIMITS)
    seen = dict[str, str]()

    def look(text: str, _matrix: object, _text_matrix: object, font: dict[str, str] | None, _size: float) -> None:
        if text.strip() and font:
            seen[text.strip()] = str(font["/BaseFont"])

    pypdf.PdfReader(tmp_path / "document.pdf").pages[0].extract_text(visitor_text=look)
    assert seen["Overview"] == "/Courier-Bold"
    assert seen["Fifteen grams of beans, ground fine."] == "/Courier"


def test_text_beyond_the_standard_fonts_is_not_drawn(tmp_path: Path) -> None:
    """Text with characters that the fonts lack is left to LibreOffice rather than drawn with gaps."""
    (tmp_path / "a.txt").write_text("漢字かな交じり文\n", "utf-8")
    assert not documents.write_pdf(tmp_path / "a.txt", tmp_path, TEXT, LIMITS)
    assert not (tmp_path / "document.pdf").exists()
    assert texts(tmp_path, "txt", TEXT) == ["漢字かな交じり文"]
