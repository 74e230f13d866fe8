"""PDF documents (ISO 32000) by PDFium: opened under a limit, checked page by page, drawn, and their text."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_raw
from PIL import Image

from operators.media.pages import MOST_PAGE_CHARACTERS, Document, PageText, write_text
from operators.media.thumb import thumb_hash
from operators.media.webp import MOST_PIXELS_A_SIDE, MadeFile, save_webp
from schemas.errors import AssetError
from schemas.pipelines import DocumentParams, Limits

POSTER_WIDTH = 480
# a page is taken for a scan if it has next to no text and pictures cover half of it
SCAN_MOST_CHARACTERS, SCAN_LEAST_COVER = 30, 0.5
_MOST_PAGE_PIXELS = 8_000_000
_TAIL_BYTES = 65_536
_JOBS_WAITING = 4


@dataclass(frozen=True)
class RenderedDocument:
    """The files made (roles `page`, `poster`, `text`, `text_json`), which hold the text too.

    `scanned` are page numbers from 1; `thumbhash` is the first page's, in base64.
    """

    files: tuple[MadeFile, ...]
    scanned: tuple[int, ...]
    characters: int
    thumbhash: str | None


def _code_of(error: pdfium.PdfiumError) -> str:
    password = getattr(error, "err_code", None) == pdfium_raw.FPDF_ERR_PASSWORD or "password" in str(error).lower()
    return "encrypted_document" if password else "corrupt_document"


@contextmanager
def opened_document(path: Path) -> Iterator[pdfium.PdfDocument]:
    """A document with at least one page; PDFium's errors within get a code.

    Raises corrupt_document, encrypted_document, decoder_memory.
    """
    try:
        with closing(pdfium.PdfDocument(path)) as document:
            if len(document) < 1:
                raise AssetError("corrupt_document", "it has no pages")
            yield document
    except pdfium.PdfiumError as error:
        raise AssetError(_code_of(error), str(error)[:200]) from error
    except MemoryError as error:
        raise AssetError("decoder_memory") from error


def _ends_early(path: Path) -> bool:
    """PDFium repairs a cut file by dropping what is missing; every whole one has `startxref` near its end."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        return b"startxref" not in file.read()


def _described(document: pdfium.PdfDocument) -> Document:
    facts = {key: value.replace("\0", "").strip()[:1000] or None for key, value in document.get_metadata_dict().items()}
    version = document.get_version()
    return Document(
        format="PDF",
        version=f"{version // 10}.{version % 10}" if version else None,
        pages=len(document),
        title=facts.get("Title"),
        author=facts.get("Author"),
        subject=facts.get("Subject"),
        keywords=facts.get("Keywords"),
        created=facts.get("CreationDate"),
        encrypted=pdfium_raw.FPDF_GetSecurityHandlerRevision(document) >= 0,
    )


def quick_document(path: Path, limits: Limits) -> Document:
    """The document's cross references and description; no page is read.

    Raises corrupt_document, encrypted_document, too_many_pages, truncated.
    """
    with opened_document(path) as document:
        if len(document) > limits.pages:
            raise AssetError("too_many_pages", f"{len(document)} pages, limit {limits.pages}")
        if _ends_early(path):
            raise AssetError("truncated", "the end of the file, with its cross references, is missing")
        return _described(document)


def check_document(path: Path, limits: Limits) -> Document:
    """Opens every page, which parses it, and gives the pages' sizes. Raises as `quick_document` does."""
    found = quick_document(path, limits)
    sizes = []
    with opened_document(path) as document:
        for number in range(len(document)):
            with closing(document[number]) as page:
                sizes.append((round(page.get_width(), 2), round(page.get_height(), 2)))
    return replace(found, page_sizes=tuple(sizes))


def _scale(page: pdfium.PdfPage, width: int) -> float:
    """Pixels a point for this width, less where a page is so tall that WebP or memory could not hold it."""
    across, down = max(page.get_width(), 0.01), max(page.get_height(), 0.01)
    return min(width / across, MOST_PIXELS_A_SIDE / max(across, down), (_MOST_PAGE_PIXELS / (across * down)) ** 0.5)


def draw_page(page: pdfium.PdfPage, width: int) -> Image.Image:
    """The page as RGB on white, `width` pixels wide, with its annotations and form fields."""
    bitmap = page.render(scale=_scale(page, width), rev_byteorder=True)
    # a copy: the bitmap's memory goes when the page is closed
    return bitmap.to_pil().convert("RGB").copy()


def _cover(page: pdfium.PdfPage) -> float:
    """The part of the page (0..1) that pictures cover, overlaps counted twice."""
    left, bottom, right, top = page.get_bbox()
    area = 0.0
    for found in page.get_objects(filter=[pdfium_raw.FPDF_PAGEOBJ_IMAGE], max_depth=4):
        x0, y0, x1, y1 = found.get_bounds()
        area += max(0.0, min(x1, right) - max(x0, left)) * max(0.0, min(y1, top) - max(y0, bottom))
    return min(1.0, area / max((right - left) * (top - bottom), 0.01))


def page_text(page: pdfium.PdfPage, number: int) -> PageText:
    """The page's text in the order of its content, lines ended by a line feed; at most 200,000 characters."""
    with closing(page.get_textpage()) as textpage:
        raw = textpage.get_text_bounded(errors="replace")[:MOST_PAGE_CHARACTERS]
    text = raw.replace("\r\n", "\n").replace("\r", "\n").replace("\ufffe", "").replace("\0", "").strip()
    few = sum(not c.isspace() for c in text) <= SCAN_MOST_CHARACTERS
    return PageText(number, text, few and _cover(page) >= SCAN_LEAST_COVER)


def poster(first: Image.Image, out_dir: Path, quality: int) -> MadeFile:
    """Writes `poster.webp`, at most 480 pixels wide."""
    size = min(POSTER_WIDTH, first.width), max(1, round(first.height * min(POSTER_WIDTH / first.width, 1)))
    return save_webp(first.resize(size, Image.Resampling.LANCZOS), out_dir / "poster.webp", "poster", quality)


class _Pictures:
    """Writes page pictures in a thread while PDFium, which may run in one thread only, draws the next."""

    def __init__(self, pool: ThreadPoolExecutor, out_dir: Path, quality: int) -> None:
        self._pool, self._out_dir, self._quality = pool, out_dir, quality
        self._jobs = list[Future[MadeFile]]()

    def add(self, picture: Image.Image, number: int) -> None:
        """Waits where too many pictures are held in memory."""
        if len(self._jobs) >= _JOBS_WAITING:
            self._jobs[-_JOBS_WAITING].result()
        path = self._out_dir / f"page-{number:04d}.webp"
        self._jobs.append(self._pool.submit(save_webp, picture, path, "page", self._quality, number))

    def done(self) -> list[MadeFile]:
        """All that were written, in order."""
        return [job.result() for job in self._jobs]


def render_document(path: Path, out_dir: Path, params: DocumentParams) -> RenderedDocument:
    """Makes `page-0001.webp`… (the first `max_pictures` pages), `poster.webp`, `text.txt` and `text.json`.

    `text.txt` has a form feed between pages; `text.json` is `{"pages": [{"page": 1, "text": "…"}]}` for all pages.
    Fonts that the file does not carry come from PDFium's own. Raises corrupt_document, encrypted_document,
    decoder_memory.
    """
    texts, first = list[PageText](), None
    with ThreadPoolExecutor(1) as pool, opened_document(path) as document:
        pictures = _Pictures(pool, out_dir, params.quality)
        document.init_forms()
        for number in range(1, len(document) + 1):
            with closing(document[number - 1]) as page:
                texts.append(page_text(page, number))
                if number <= params.max_pictures:
                    picture = draw_page(page, params.page_width)
                    first = first or picture
                    pictures.add(picture, number)
        files = [*pictures.done(), *write_text(texts, out_dir)]
    if first is not None:
        files.append(poster(first, out_dir, params.quality))
    return RenderedDocument(
        files=tuple(files),
        scanned=tuple(p.page for p in texts if p.scanned),
        characters=sum(len(p.text) for p in texts),
        thumbhash=thumb_hash(first) if first else None,
    )
