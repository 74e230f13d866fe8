"""What a picture says of itself in one vocabulary, from EXIF, XMP and IPTC in it and from an XMP file beside it.

Words are taken from XMP before IPTC before EXIF, as the Metadata Working Group advises (guidelines 2.0, 2010); what a
camera measured is taken from EXIF first. A sidecar is newer than the picture, and stands before all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from PIL import Image

from operators.media.metadata import xmp_of
from schemas.errors import AssetError

_XMP_DEGREES = re.compile(r"(\d+),(\d+(?:\.\d+)?)(?:,(\d+(?:\.\d+)?))?([NSEW])")
_EXIF_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")
_IPTC_DATE = re.compile(r"(\d{4})(\d\d)(\d\d)")
_IPTC_TIME = re.compile(r"(\d\d)(\d\d)(\d\d)(?:([+-]\d\d)(\d\d))?")
Block = Mapping[str, Any]


@dataclass(frozen=True)
class Words:
    """`created` is the time of the shot in ISO 8601, with an offset where it is known; positions are in decimal
    degrees (WGS 84), the altitude in metres. What is not said is empty.
    """

    title: str = ""
    description: str = ""
    creators: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    copyright: str = ""
    created: str = ""
    camera: str = ""
    lens: str = ""
    latitude: float | None = None
    longitude: float | None = None
    altitude_m: float | None = None


def merged(embedded: Words, sidecar: Words) -> Words:
    """The sidecar's where it says something, else the picture's own; a position is taken whole."""
    said = {f.name: value for f in fields(Words) if (value := getattr(sidecar, f.name)) not in ("", (), None)}
    if "latitude" in said:
        said |= {"longitude": sidecar.longitude, "altitude_m": sidecar.altitude_m}
    return replace(embedded, **said)


def words_of(exif: Block, xmp: Block, iptc: Block) -> Words:
    """The words in the three blocks as `metadata` reads them."""
    said = _properties(xmp)
    position = exif.get("gps") or {}
    latitude, longitude = _position(position, said)
    return Words(
        title=_first(said.get("title"), iptc.get("title"), iptc.get("headline"), said.get("Headline")),
        description=_first(said.get("description"), iptc.get("caption"), exif.get("ImageDescription")),
        creators=_list(said.get("creator"), iptc.get("by_line"), exif.get("Artist")),
        keywords=_list(said.get("subject"), iptc.get("keywords")),
        copyright=_first(said.get("rights"), iptc.get("copyright"), exif.get("Copyright")),
        created=_created(exif, said, iptc),
        camera=_camera(exif) or _camera(said),
        lens=_first(exif.get("LensModel"), said.get("LensModel"), said.get("Lens")),
        latitude=latitude,
        longitude=longitude,
        altitude_m=position.get("altitude_m") if latitude is not None else None,
    )


def read_sidecar(path: Path) -> Words:
    """The words of an XMP file (ISO 16684-1). Raises corrupt_sidecar."""
    blank = Image.new("L", (1, 1))
    blank.info["xmp"] = path.read_bytes()
    try:
        found = xmp_of(blank)
    except Exception as error:
        # the parser's errors are of many types; entities are among them
        raise AssetError("corrupt_sidecar", f"{type(error).__name__}: {error}"[:200]) from error
    return words_of({}, found, {})


def _properties(xmp: Block) -> dict[str, Any]:
    """The properties of all descriptions, without name spaces; lists as lists, of alternatives the default one."""
    node: Any = xmp.get("xmpmeta", xmp)
    node = node.get("RDF", {}) if isinstance(node, Mapping) else {}
    found = node.get("Description", ()) if isinstance(node, Mapping) else ()
    described = [found] if isinstance(found, Mapping) else [d for d in found if isinstance(d, Mapping)]
    return {name: _value(value) for one in described for name, value in one.items()}


def _value(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    for kind in ("Alt", "Seq", "Bag"):
        if kind in value:
            items = value[kind].get("li") if isinstance(value[kind], Mapping) else value[kind]
            texts = _list(*([items] if isinstance(items, list) else [[items]]))
            return next(iter(texts), "") if kind == "Alt" else list(texts)
    return value.get("text")


def _texts(value: Any) -> list[str]:
    """The texts in a value; of several in different languages the default one comes first."""
    items = value if isinstance(value, list | tuple) else [value]
    marked = sorted(items, key=lambda item: not (isinstance(item, Mapping) and item.get("lang") == "x-default"))
    texts = (item.get("text") if isinstance(item, Mapping) else item for item in marked)
    return [text.strip() for text in texts if isinstance(text, str) and text.strip()]


def _first(*values: Any) -> str:
    return next((texts[0] for value in values if (texts := _texts(value))), "")


def _list(*values: Any) -> tuple[str, ...]:
    """The texts of the first value that has any, each once."""
    return next((tuple(dict.fromkeys(texts)) for value in values if (texts := _texts(value))), ())


def _camera(block: Block) -> str:
    make, model = _first(block.get("Make")), _first(block.get("Model"))
    return model if model.lower().startswith(make.lower().split(" ")[0]) and model else f"{make} {model}".strip()


def _created(exif: Block, said: Block, iptc: Block) -> str:
    if found := _EXIF_TIME.fullmatch(_first(exif.get("DateTimeOriginal"))):
        year, month, day, time = found.groups()
        return f"{year}-{month}-{day}T{time}{_first(exif.get('OffsetTimeOriginal'))}"
    stated = _first(said.get("DateTimeOriginal"), said.get("DateCreated"), said.get("CreateDate"))
    return stated or _iptc_created(iptc)


def _iptc_created(iptc: Block) -> str:
    date = _IPTC_DATE.fullmatch(_first(iptc.get("date_created")))
    if date is None:
        return ""
    time = _IPTC_TIME.fullmatch(_first(iptc.get("time_created")))
    hours = f"T{time[1]}:{time[2]}:{time[3]}" + (f"{time[4]}:{time[5]}" if time[4] else "") if time else ""
    return f"{date[1]}-{date[2]}-{date[3]}{hours}"


def _position(gps: Block, said: Block) -> tuple[float | None, float | None]:
    """EXIF's position, else XMP's."""
    own = gps.get("latitude"), gps.get("longitude")
    stated = _degrees(said.get("GPSLatitude")), _degrees(said.get("GPSLongitude"))
    return next((pair for pair in (own, stated) if None not in pair), (None, None))


def _degrees(text: Any) -> float | None:
    """Decimal degrees of XMP's "52,31.2N" or "52,31,12N"; None out of range."""
    found = _XMP_DEGREES.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    degrees = int(found[1]) + float(found[2]) / 60 + float(found[3] or 0) / 3600
    return round(-degrees if found[4] in "SW" else degrees, 7) if degrees <= 180 else None
