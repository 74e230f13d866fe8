"""Makes coffee-guide.pdf: two pages of text, one with a photograph, and a third that is only a scan."""

from __future__ import annotations

import ctypes
import io
import re
import textwrap
from pathlib import Path

import pypdfium2 as pdfium
import pypdfium2.raw as raw
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HERE = Path(__file__).parent
WIDTH, HEIGHT, MARGIN = 595, 842, 64

TITLE = "Brewing coffee by hand"

PAGE_1 = """# Brewing coffee by hand
A short guide for one cup, with a paper filter and a kettle.

## What you need
Fifteen grams of coffee beans, a grinder, a cone with a paper filter, 250 grams of soft water, and a
scale that shows single grams. A thermometer helps; so does a kettle with a thin spout.

## The grind
Grind as coarse as table salt. If the finished cup tastes sour, grind finer next time; if it tastes
bitter, grind coarser. Change one thing at a time, and write down what you changed.

## Water
Bring the water to the boil and let it rest for half a minute, so that it is between 92 and 96
degrees Celsius. Rinse the filter with some of it: this washes the taste of paper away and warms the
cone.

## Pouring
Pour 40 grams of water in a slow circle and wait for thirty seconds. The grounds swell and give off
gas; this is called the bloom. Then pour the rest in three parts, each when the last has almost run
through. The whole should take about three minutes."""

PAGE_2 = """## Espresso
Espresso is made under nine bars of pressure in 25 to 30 seconds: eighteen grams of finely ground
coffee give thirty-six grams in the cup. The brown foam on top, the crema, is a sign of fresh beans
and of the right grind.

## Keeping beans
Keep beans whole, dry, dark and closed at room temperature, and use them within four weeks of the
roast. A refrigerator does more harm than good, since beans take up water and smells.

## Cleaning
Oils from the beans turn rancid. Rinse cone and jug with hot water after each use, and wash them
with a little soda once a week."""

SCAN = """RECIPE CARD No. 7

Iced coffee for four

60 g coffee, medium ground
500 g hot water
400 g ice cubes
two slices of orange

Put the ice in a jug. Brew the coffee
strong, straight onto the ice. Stir until
the jug is cold, then add the orange.
Serve at once, without sugar.
"""


def add_line(page: pdfium.PdfPage, text: str, font: str, size: float, y: float) -> None:
    """Selectable text at the left margin, its base line `y` points above the page's bottom."""
    line = raw.FPDFPageObj_NewTextObj(page.pdf, font.encode(), size)
    utf16 = ctypes.create_string_buffer(text.encode("utf-16-le") + b"\0\0")
    raw.FPDFText_SetText(line, ctypes.cast(utf16, raw.FPDF_WIDESTRING))
    raw.FPDFPageObj_Transform(line, 1, 0, 0, 1, MARGIN, y)
    raw.FPDFPage_InsertObject(page, line)


def add_text(page: pdfium.PdfPage, text: str) -> float:
    """Headings (`#`, `##`) and wrapped paragraphs from the top; the height at which they end."""
    y = float(HEIGHT - MARGIN)
    for block in re.findall(r"#+ .+|(?:[^#\n].*\n?)+", text):
        level = len(block) - len(block.lstrip("#"))
        font, size = ("Helvetica-Bold", {1: 24.0, 2: 14.0}[level]) if level else ("Helvetica", 11.0)
        y -= size * 0.6
        for line in textwrap.wrap(block.lstrip("# "), 84):
            y -= size * 1.45
            add_line(page, line, font, size, y)
    return y


def add_picture(page: pdfium.PdfPage, picture: Image.Image, box: tuple[float, float, float, float]) -> None:
    """A JPEG in the box (left, bottom, width, height) in points."""
    left, bottom, width, height = box
    data = io.BytesIO()
    picture.convert("RGB").save(data, "JPEG", quality=82)
    placed = pdfium.PdfImage.new(page.pdf)
    placed.load_jpeg(data, pages=[page], inline=True)
    placed.set_matrix(pdfium.PdfMatrix().scale(width, height).translate(left, bottom))
    page.insert_obj(placed)


def scan() -> Image.Image:
    """A typed card as a scanner sees it: grey paper, soft and a little askew."""
    card = Image.new("L", (1240, 1754), 236)
    font = ImageFont.load_default(44)
    ImageDraw.Draw(card).multiline_text((150, 220), SCAN, fill=40, font=font, spacing=26)
    return card.rotate(0.7, Image.Resampling.BICUBIC, fillcolor=236).filter(ImageFilter.GaussianBlur(0.8))


def describe(pdf: bytes) -> bytes:
    """Adds title and author, which PDFium cannot set, as an incremental update (ISO 32000-1, 7.5.6)."""
    pdf = re.sub(rb"D:\d{14}", b"D:20260101000000", pdf)
    info, size = (int(re.findall(key + rb" (\d+)", pdf)[-1]) for key in (rb"/Info", rb"/Size"))
    previous = int(re.findall(rb"startxref\s+(\d+)", pdf)[-1])
    facts = f"<</Title({TITLE})/Author(asset-pipeline samples)/CreationDate(D:20260101000000Z)>>"
    start = len(pdf) + 1
    entry = f"\n{info} 0 obj\n{facts}\nendobj\n"
    table = f"xref\n{info} 1\n{start:010d} 00000 n \n"
    trailer = f"trailer\n<</Root 1 0 R/Info {info} 0 R/Size {size}/Prev {previous}>>\n"
    return pdf + f"{entry}{table}{trailer}startxref\n{len(pdf) + len(entry)}\n%%EOF\n".encode()


def make(path: Path) -> None:
    """Writes the document."""
    document = pdfium.PdfDocument.new()
    pages = [document.new_page(WIDTH, HEIGHT) for _ in range(3)]
    add_text(pages[0], PAGE_1)
    end = add_text(pages[1], PAGE_2)
    with Image.open(HERE / "coffee.png") as photo:
        width = WIDTH - 2 * MARGIN
        height = width * photo.height / photo.width
        add_picture(pages[1], photo, (MARGIN, end - 30 - height, width, height))
    add_picture(pages[2], scan(), (0, 0, WIDTH, HEIGHT))
    for page in pages:
        page.gen_content()
    written = io.BytesIO()
    document.save(written)
    path.write_bytes(describe(written.getvalue()))


if __name__ == "__main__":
    make(HERE / "coffee-guide.pdf")
