"""SVG as a Pillow format: one document without scripts, references to elsewhere or entities, drawn by resvg."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, ParseError, tostring

import resvg_py
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from PIL import Image, ImageFile

from operators.media.fonts import MONO, SANS, font
from operators.media.signatures import HEAD_BYTES, media_type_of
from schemas.errors import AssetError

# CSS 2.2's size of a replaced element that says nothing of its own
_DEFAULT = (300.0, 150.0)
_PIXELS = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0, "em": 16.0}
_LENGTH = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_EMBEDDED = re.compile(r"\s*(#|data:image/(png|jpe?g|gif|webp)[;,])", re.IGNORECASE)
_ELSEWHERE = re.compile(r"""@import|url\(\s*["']?\s*(?!["'#\s]|data:)""", re.IGNORECASE)
_CUT_SHORT = (3, 5)  # expat: no element found, unclosed token


def _local(name: str) -> str:
    return name.rpartition("}")[2].lower()


def _is_script(element: Element) -> bool:
    named = ((_local(name), value) for name, value in element.attrib.items())
    return _local(element.tag) in ("script", "handler", "iframe", "object", "embed") or any(
        name.startswith("on") or (name == "href" and value.strip().lower().startswith("javascript:"))
        for name, value in named
    )


def _references(element: Element) -> Iterator[str]:
    """What the element would load from elsewhere. A link is only followed by a person."""
    for name, value in element.attrib.items():
        loads = _local(name) == "href" and _local(element.tag) != "a" and value.strip()
        if (loads and not _EMBEDDED.match(value)) or _ELSEWHERE.search(value):
            yield value
    if _local(element.tag) == "style" and _ELSEWHERE.search(element.text or ""):
        yield str(element.text)


def parsed(data: bytes) -> Element:
    """The root element. Raises svg_entities, svg_script, svg_external, truncated; ParseError where it is no XML."""
    try:
        root: Element = fromstring(data, forbid_dtd=False)
    except DefusedXmlException as error:
        raise AssetError("svg_entities", str(error)[:200]) from error
    except ParseError as error:
        if error.code in _CUT_SHORT:
            raise AssetError("truncated", str(error)[:200]) from error
        raise
    for element in root.iter():
        if not isinstance(element.tag, str):
            continue
        if _is_script(element):
            raise AssetError("svg_script", f"in <{_local(element.tag)}>")
        if found := next(_references(element), None):
            raise AssetError("svg_external", found.strip()[:100])
    return root


def _length(text: str | None) -> float | None:
    """CSS pixels; None of a percentage or of what is no length."""
    found = _LENGTH.fullmatch(text or "")
    factor = _PIXELS.get(found[2].lower()) if found else None
    return float(found[1]) * factor or None if found and factor else None


def _box(root: Element) -> tuple[float, float] | None:
    parts = [_length(part) for part in re.split(r"[\s,]+", (root.get("viewBox") or "").replace("-", " ").strip())]
    return (parts[2], parts[3]) if len(parts) == 4 and parts[2] and parts[3] else None


def size_of(root: Element) -> tuple[float, float]:
    """(width, height) in CSS pixels: the root's own, else by its view box, else 300 x 150."""
    width, height, box = _length(root.get("width")), _length(root.get("height")), _box(root)
    if width and height:
        return width, height
    if box is None:
        return width or _DEFAULT[0], height or _DEFAULT[1]
    if width or height:
        return width or box[0] * (height or 0) / box[1], height or box[1] * (width or 0) / box[0]
    return box


def _fonts() -> dict[str, Any]:
    """What text is drawn with whose own font is not installed, since resvg would leave it out."""
    (sans, one), (mono, other) = font(SANS), font(MONO)
    generic = ("font_family", "serif_family", "sans_serif_family", "cursive_family", "fantasy_family")
    return {"font_files": [str(one), str(other)], **dict.fromkeys(generic, sans), "monospace_family": mono}


class SvgImageFile(ImageFile.ImageFile):
    """An SVG of its own size in CSS pixels; `draft` lets it be drawn in any other."""

    format = "SVG"
    format_description = "Scalable Vector Graphics"

    def _open(self) -> None:
        assert self.fp
        head = self.fp.read(HEAD_BYTES)
        if media_type_of(head) != "image/svg+xml":
            raise SyntaxError("no SVG")
        self._root = parsed(head + self.fp.read())
        width, height = size_of(self._root)
        if not _box(self._root):
            self._root.set("viewBox", f"0 0 {width} {height}")
        self._size, self._mode = (max(1, round(width)), max(1, round(height))), "RGBA"

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> None:  # type: ignore[override]
        """Chooses the size (pixels) that it is drawn in."""
        if size and self._im is None:
            self._size = size

    def load(self) -> Any:
        """Draws it. Raises ValueError for what resvg refuses: too many elements, loops, too deep a nesting."""
        if self._im is None:
            for name, pixels in zip(("width", "height"), self._size, strict=True):
                self._root.set(name, str(pixels))
            png = bytes(resvg_py.svg_to_bytes(svg_string=tostring(self._root, encoding="unicode"), **_fonts()))
            with Image.open(io.BytesIO(png), formats=("PNG",)) as drawn:
                self._im = drawn.convert("RGBA").im
        return super().load()


Image.register_open("SVG", SvgImageFile, lambda head: b"<" in head or head[:2] in (b"\xff\xfe", b"\xfe\xff"))
