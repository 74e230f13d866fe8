"""EXIF, XMP and IPTC of images as small JSON-safe dicts. Renditions carry none of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from numbers import Rational
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, ImageFile, IptcImagePlugin

# the texts of a list of alternatives in XMP lie eight levels deep
MOST_CHARACTERS, MOST_ITEMS, MOST_DEPTH, MOST_BYTES = 2_000, 100, 10, 65_536

# file structure, embedded blocks that are read elsewhere, and makers' private notes
_LEFT_OUT = {
    273, 279, 324, 325, 330, 338, 347, 513, 514, 519, 520, 521,
    700, 33723, 34377, 34665, 34675, 34853, 37500, 40965, 50341, 59932,
}  # fmt: skip
_IIM = {
    5: "title", 15: "category", 25: "keywords", 40: "instructions", 55: "date_created", 60: "time_created",
    80: "by_line", 85: "by_line_title", 90: "city", 92: "sublocation", 95: "state", 100: "country_code",
    101: "country", 105: "headline", 110: "credit", 115: "source", 116: "copyright", 118: "contact",
    120: "caption", 122: "caption_writer",
}  # fmt: skip


def _text(value: bytes) -> str | None:
    """Text of bytes where they are text; UserComment's 8-byte character code is cut off."""
    if value[:8] in (b"ASCII\0\0\0", b"UNICODE\0", b"\0\0\0\0\0\0\0\0"):
        value = value[8:]
    try:
        text = value.decode("utf-8").strip("\0 ")
    except UnicodeDecodeError:
        return None
    return _string(text) if text.isprintable() or "\n" in text else None


def _string(value: str) -> str | None:
    clean = value.replace("\0", "").encode("utf-8", "ignore").decode().strip()
    return clean[:MOST_CHARACTERS] or None


def _number(value: Any) -> int | float | None:
    if isinstance(value, int):
        return value if abs(value) < 2**63 else None
    try:
        number = float(value)
    except (ZeroDivisionError, OverflowError, ValueError):
        return None
    return round(number, 9) if math.isfinite(number) else None


def json_safe(value: Any, depth: int = MOST_DEPTH) -> Any:
    """The value in JSON's types, bounded in length and depth; what cannot be said in them becomes None."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, int | float | Rational):
        return _number(value)
    if depth and isinstance(value, Mapping):
        pairs = ((str(k)[:100], json_safe(v, depth - 1)) for k, v in list(value.items())[:MOST_ITEMS])
        return {k: v for k, v in pairs if v is not None}
    if depth and isinstance(value, list | tuple):
        return [item for v in value[:MOST_ITEMS] if (item := json_safe(v, depth - 1)) is not None]
    return None


def bounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON-safe, and at most 64 KiB as JSON: the largest values go first."""
    safe: dict[str, Any] = json_safe(dict(values)) or {}
    sizes = {key: len(json.dumps(value)) for key, value in safe.items()}
    while safe and sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=lambda key: sizes[key])
        del safe[largest], sizes[largest]
    return {key: value for key, value in safe.items() if value not in ("", [], {})}


def _degrees(parts: Any, reference: Any) -> float | None:
    """Decimal degrees of (degrees, minutes, seconds), south and west negative; None out of range."""
    try:
        degrees = sum(float(part) / 60**i for i, part in enumerate(parts))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not math.isfinite(degrees) or not 0 <= degrees <= 180:
        return None
    return round(-degrees if str(reference)[:1].upper() in ("S", "W") else degrees, 7)


def _position(gps: Mapping[int, Any]) -> dict[str, Any]:
    """Latitude and longitude in decimal degrees (WGS 84), altitude in metres, other GPS tags by name."""
    tag = ExifTags.GPS
    shown = {tag.GPSLatitude, tag.GPSLongitude, tag.GPSLatitudeRef, tag.GPSLongitudeRef, tag.GPSAltitudeRef}
    named = {ExifTags.GPSTAGS.get(k, f"0x{k:04x}"): v for k, v in gps.items() if k not in shown | {tag.GPSAltitude}}
    altitude = json_safe(gps.get(tag.GPSAltitude))
    below = gps.get(tag.GPSAltitudeRef) in (1, b"\x01")
    return {
        "latitude": _degrees(gps.get(tag.GPSLatitude), gps.get(tag.GPSLatitudeRef)),
        "longitude": _degrees(gps.get(tag.GPSLongitude), gps.get(tag.GPSLongitudeRef)),
        "altitude_m": -altitude if below and isinstance(altitude, int | float) else altitude,
        **named,
    }


def _named(tags: Mapping[int, Any]) -> dict[str, Any]:
    return {ExifTags.TAGS.get(k, f"0x{k:04x}"): v for k, v in tags.items() if k not in _LEFT_OUT}


def exif_of(image: Image.Image) -> dict[str, Any]:
    """EXIF (CIPA DC-008) by the standard's tag names; rationals as floats, the position under `gps`."""
    exif = image.getexif()
    found = _named(exif) | _named(exif.get_ifd(ExifTags.IFD.Exif))
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    return bounded(found | ({"gps": _position(gps)} if gps else {}))


def xmp_of(image: Image.Image) -> dict[str, Any]:
    """XMP (ISO 16684-1) as nested dicts without name spaces; entities are never expanded (defusedxml)."""
    return bounded(image.getxmp())


def _iptc_text(value: bytes) -> str:
    """UTF-8 where it is (IIM 1:90 is often missing), else Latin-1."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def iptc_of(image: ImageFile.ImageFile) -> dict[str, Any]:
    """The application record of IPTC-IIM 4.2 (record 2) by readable names; a repeated field is a list."""
    found: dict[str, Any] = {}
    for (record, number), value in (IptcImagePlugin.getiptcinfo(image) or {}).items():
        if record == 2 and number in _IIM:
            texts = [_iptc_text(v) for v in (value if isinstance(value, list) else [value])]
            found[_IIM[number]] = texts if number == 25 or len(texts) > 1 else texts[0]
    return bounded(found)


def image_metadata(image: ImageFile.ImageFile) -> dict[str, dict[str, Any]]:
    """`exif`, `xmp` and `iptc` of an opened image; a block that cannot be read is empty, never an error."""
    found: dict[str, dict[str, Any]] = {}
    for name, read in {"exif": exif_of, "xmp": xmp_of, "iptc": iptc_of}.items():
        try:
            found[name] = read(image)  # type: ignore[operator]
        except Exception:
            # metadata is written by anyone: dozens of error types, and none of them makes a picture unfit
            found[name] = {}
    return found


def embedded(path: Path) -> set[str]:
    """What a picture file carries of exif, xmp, iptc, icc and comment; empty for a clean rendition."""
    with Image.open(path) as image:
        image.load()
        keys = {"exif": "exif", "xmp": "xmp", "photoshop": "iptc", "icc_profile": "icc", "comment": "comment"}
        found = {name for key, name in keys.items() if image.info.get(key)}
        return found | ({"exif"} if len(image.getexif()) else set())
