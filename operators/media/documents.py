"""Documents of every format by their media type: looked at, checked, read by page, and what pictures they carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from operators.media import document as pdf
from operators.media.docx import read_docx, read_pptx
from operators.media.epub import read_epub
from operators.media.image import opened
from operators.media.lines import paged
from operators.media.odt import read_odt
from operators.media.packages import Package, opened_package
from operators.media.pages import MOST_PART_CHARACTERS, Document, Read, write_text
from operators.media.text import lines_of, read_text
from operators.media.thumb import thumb_hash
from operators.media.types import DOCX, EPUB, MARKDOWN, ODT, PDF, PPTX, TEXT, XLSX
from operators.media.typeset import drawable, typeset
from operators.media.webp import MadeFile
from operators.media.xlsx import quick_xlsx, read_xlsx
from schemas.errors import AssetError
from schemas.pipelines import Limits

_PACKAGES: dict[str, Callable[[Package, Limits], Read]] = {
    DOCX: read_docx, PPTX: read_pptx, XLSX: read_xlsx, ODT: read_odt, EPUB: read_epub,
}  # fmt: skip
# what LibreOffice makes a PDF of, and the extension by which it knows it
OFFICE = {DOCX: "docx", PPTX: "pptx", XLSX: "xlsx", ODT: "odt", TEXT: "txt", MARKDOWN: "txt"}


@dataclass(frozen=True)
class ReadFiles:
    """The text written (roles `text`, `text_json`), its characters, and the names of pages that are not shown.

    `cut` are the numbers of pages with more text than is kept.
    """

    files: tuple[MadeFile, ...]
    characters: int
    hidden: tuple[str, ...]
    cut: tuple[int, ...]


@dataclass(frozen=True)
class OwnPicture:
    """A poster made of the document's own picture, and its ThumbHash in base64; none where it carries none."""

    files: tuple[MadeFile, ...] = ()
    thumbhash: str | None = None


def quick(path: Path, media_type: str, limits: Limits) -> Document:
    """What the document is, from no more than its pages' number needs.

    Raises corrupt_document, encrypted_document, truncated, too_many_pages, unpacks_too_large, unsupported_type.
    """
    if media_type == PDF:
        return pdf.quick_document(path, limits)
    if media_type == XLSX:
        with opened_package(path) as package:
            return quick_xlsx(package, limits)
    return read(path, media_type, limits).document


def check(path: Path, media_type: str, limits: Limits) -> Document:
    """Reads every page and part, checksums too. Raises as `quick` does."""
    if media_type == PDF:
        return pdf.check_document(path, limits)
    if media_type in _PACKAGES:
        with opened_package(path) as package:
            package.check()
    return read(path, media_type, limits).document


def read(path: Path, media_type: str, limits: Limits) -> Read:
    """A document that is no PDF, with the text of all its pages. Raises as `quick` does."""
    if media_type in (TEXT, MARKDOWN):
        return read_text(path, media_type == MARKDOWN, limits)
    if media_type not in _PACKAGES:
        raise AssetError("unsupported_type", f"found {media_type}")
    with opened_package(path) as package:
        return _PACKAGES[media_type](package, limits)


def write_read(path: Path, out_dir: Path, media_type: str, limits: Limits) -> ReadFiles:
    """Writes `text.txt` and `text.json`, all pages' text, hidden ones too. Raises as `quick` does."""
    pages = read(path, media_type, limits).pages
    hidden = tuple(page.name or str(page.page) for page in pages if page.hidden)
    cut = tuple(page.page for page in pages if len(page.text) >= MOST_PART_CHARACTERS)
    return ReadFiles(write_text(pages, out_dir), sum(len(page.text) for page in pages), hidden, cut)


def write_pdf(path: Path, out_dir: Path, media_type: str, limits: Limits) -> bool:
    """Writes a text as `document.pdf`; whether the standard fonts have all its characters, else nothing is written."""
    lines, _ = lines_of(path, media_type == MARKDOWN, limits)
    if not drawable(lines):
        return False
    typeset(paged(lines), out_dir / "document.pdf")
    return True


def own_picture(path: Path, out_dir: Path, media_type: str, quality: int, limits: Limits) -> OwnPicture:
    """Writes `poster.webp` of the picture that the document carries: its first page's thumbnail, or a book's cover.

    A picture that is damaged or too large is as good as none.
    """
    data = read(path, media_type, limits).picture
    if data is None:
        return OwnPicture()
    carried = out_dir / "carried"
    carried.write_bytes(data)
    try:
        with opened(carried, limits) as image:
            image.load()
            picture = Image.new("RGB", image.size, "white")
            picture.paste(image.convert("RGB"), mask=image.convert("RGBA").getchannel("A"))
    except (AssetError, OSError, ValueError):
        return OwnPicture()
    return OwnPicture((pdf.poster(picture, out_dir, quality),), thumb_hash(picture))
