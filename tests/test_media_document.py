"""Documents: damage and locks with a code, text and pictures by page, scans told apart."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
import pytest
from media_fixtures import tiny_pdf
from PIL import Image

from operators.media.document import Document, check_document, quick_document, render_document
from schemas.errors import AssetError
from schemas.pipelines import DocumentParams, Limits

SAMPLES = Path(__file__).parent.parent / "samples"
GUIDE = SAMPLES / "coffee-guide.pdf"
LIMITS = Limits()


def written(tmp_path: Path, data: bytes) -> Path:
    """A file with these bytes."""
    path = tmp_path / "x.pdf"
    path.write_bytes(data)
    return path


def code_of(path: Path, limits: Limits = LIMITS, check: object = quick_document) -> str:
    """The code under which the document is refused."""
    with pytest.raises(AssetError) as raised:
        check(path, limits)  # type: ignore[operator]
    assert str(path) not in str(raised.value)
    return raised.value.code


def test_sample_is_described() -> None:
    """The sample's pages, sizes, title and author are found."""
    found = check_document(GUIDE, LIMITS)
    assert (found.pages, found.title, found.encrypted) == (3, "Brewing coffee by hand", False)
    assert found.author == "asset-pipeline samples" and found.version == "1.7"
    assert found.page_sizes == ((595.0, 842.0),) * 3


def test_quick_look_agrees_with_the_check() -> None:
    """The quick look says the same, but for the sizes that need every page."""
    quick, full = quick_document(GUIDE, LIMITS), check_document(GUIDE, LIMITS)
    assert quick == Document(**{**full.__dict__, "page_sizes": ()})


@pytest.mark.parametrize(
    "data", [b"%PDF-1.7\n" + b"nothing of use " * 50, b"", tiny_pdf().replace(b"/Pages", b"/Wages")]
)
def test_corrupt_document(tmp_path: Path, data: bytes) -> None:
    """A file that is no document, or has no pages, is corrupt."""
    assert code_of(written(tmp_path, data)) == "corrupt_document"


def test_missing_page_is_corrupt(tmp_path: Path) -> None:
    """A document that promises a page which is not there is corrupt, and drawing it says so too."""
    path = written(tmp_path, tiny_pdf(3).replace(b"5 0 obj<</Type/Page", b"5 0 obj<</Type/Rage"))
    assert code_of(path, check=check_document) == "corrupt_document"
    with pytest.raises(AssetError) as raised:
        render_document(path, tmp_path, DocumentParams())
    assert raised.value.code == "corrupt_document"


def test_truncated_document(tmp_path: Path) -> None:
    """A document without its end is truncated, even where PDFium could repair what is left of it."""
    assert code_of(written(tmp_path, GUIDE.read_bytes()[:-100_000])) in ("truncated", "corrupt_document")
    whole = tiny_pdf()
    assert code_of(written(tmp_path, whole[: whole.index(b"startxref")])) == "truncated"


def test_password(tmp_path: Path) -> None:
    """A document with a password is refused; one with an empty password opens, as encrypted."""
    path = written(tmp_path, tiny_pdf(password=b"secret"))
    for check in (
        quick_document,
        check_document,
        lambda p, _: render_document(p, tmp_path, DocumentParams()),
    ):
        assert code_of(path, check=check) == "encrypted_document"
    with pdfium.PdfDocument(path, password="secret") as document:
        assert len(document) == 1
    found = quick_document(written(tmp_path, tiny_pdf(password=b"")), LIMITS)
    assert found.encrypted and found.pages == 1


def test_too_many_pages(tmp_path: Path) -> None:
    """The limit of pages holds before any page is read."""
    path = written(tmp_path, tiny_pdf(7))
    assert code_of(path, Limits(pages=6)) == "too_many_pages"
    assert quick_document(path, Limits(pages=7)).pages == 7


def test_render_makes_pages_text_and_poster(tmp_path: Path) -> None:
    """The sample's pages are drawn at the width asked for, its text is written by page, its scan is found."""
    made = render_document(GUIDE, tmp_path, DocumentParams(page_width=620))
    pages = [f for f in made.files if f.role == "page"]
    assert [(f.name, f.number, f.width) for f in pages] == [(f"page-000{n}.webp", n, 620) for n in (1, 2, 3)]
    assert all((tmp_path / f.name).stat().st_size == f.bytes for f in made.files)
    assert made.scanned == (3,)
    text = json.loads((tmp_path / "text.json").read_text("utf-8"))["pages"]
    assert [page["page"] for page in text] == [1, 2, 3]
    assert "fifteen grams of coffee beans" in text[0]["text"].lower()
    assert "nine bars of pressure" in text[1]["text"] and text[2]["text"] == ""
    assert "nine bars of pressure" in (tmp_path / "text.txt").read_text("utf-8")
    assert made.characters == sum(len(page["text"]) for page in text) > 1_000
    assert made.thumbhash
    with Image.open(tmp_path / "poster.webp") as poster:
        assert poster.size == (480, 680)


def test_page_shows_its_photograph(tmp_path: Path) -> None:
    """The page's picture lies where the document places it, in its own colours."""
    render_document(GUIDE, tmp_path, DocumentParams(page_width=595))
    with Image.open(tmp_path / "page-0002.webp") as page, Image.open(SAMPLES / "coffee.png") as photo:
        pixels = np.asarray(page, float)
        ink = np.flatnonzero((pixels[:, 100:500].mean(axis=2) < 200).mean(axis=1) > 0.8)
        found = pixels[ink[0] : ink[-1], 64:531].mean(axis=(0, 1))
        expected = np.asarray(photo.convert("RGB"), float).mean(axis=(0, 1))
    assert 300 < len(ink) < 320
    assert np.abs(found - expected).max() < 6


def test_most_pictures(tmp_path: Path) -> None:
    """No more pages are drawn than allowed, while all have their text."""
    made = render_document(GUIDE, tmp_path, DocumentParams(page_width=100, max_pictures=1))
    assert [f.name for f in made.files if f.role == "page"] == ["page-0001.webp"]
    assert len(json.loads((tmp_path / "text.json").read_text("utf-8"))["pages"]) == 3


@pytest.mark.parametrize("size", [(10, 14_000), (14_000, 14_000), (14_000, 10)])
def test_odd_page_sizes_stay_bounded(tmp_path: Path, size: tuple[int, int]) -> None:
    """A page of an extreme shape is drawn smaller rather than fill the memory."""
    made = render_document(written(tmp_path, tiny_pdf(size=size)), tmp_path, DocumentParams())
    assert all(f.width * f.height < 8_100_000 and f.height <= 16_383 for f in made.files)
    assert made.scanned == ()


def test_blank_page_is_no_scan(tmp_path: Path) -> None:
    """A page without text and without pictures has nothing for OCR."""
    made = render_document(written(tmp_path, tiny_pdf(2)), tmp_path, DocumentParams(page_width=50))
    assert made.scanned == () and made.characters == 0


def test_sample_script_makes_the_sample(tmp_path: Path) -> None:
    """The committed script makes the committed document, page for page."""
    spec = importlib.util.spec_from_file_location("make_pdf", SAMPLES / "make_pdf.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.make(tmp_path / "again.pdf")
    assert check_document(tmp_path / "again.pdf", LIMITS) == check_document(GUIDE, LIMITS)
    for name, path in {"a": GUIDE, "b": tmp_path / "again.pdf"}.items():
        (tmp_path / name).mkdir()
        render_document(path, tmp_path / name, DocumentParams(page_width=200))
    assert (tmp_path / "a/text.json").read_bytes() == (tmp_path / "b/text.json").read_bytes()
