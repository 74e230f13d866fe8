"""Whether a picture carries a gain map, the second picture that makes an HDR one of its base.

Known by their marks: Ultra HDR (Adobe's name space in XMP), ISO 21496-1, and Apple's auxiliary picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import ImageFile

_MARKS = (
    b"ns.adobe.com/hdr-gain-map/",
    b"urn:iso:std:iso:ts:21496:-1",
    b"apple:photo:2020:aux:hdrgainmap",
    b"HDRGainMap",
)
_HEAD, _MOST = 262_144, 8
_ENTRIES = 0xB002  # MPEntry (CIPA DC-007)


def has_gain_map(image: ImageFile.ImageFile) -> bool:
    """Reads headers only: the picture's own, and those of the further pictures of a multi-picture JPEG."""
    if image.format not in ("JPEG", "MPO", "AVIF", "HEIF") or not image.filename:
        return False
    with Path(str(image.filename)).open("rb") as file:
        return any(_marked(file, start, image.format) for start in (0, *_further(image, file)))


def _further(image: Any, file: Any) -> list[int]:
    """Where the further pictures start: their offsets count from the header behind the segment's name."""
    entries = (getattr(image, "mpinfo", None) or {}).get(_ENTRIES, ())
    origin = file.read(_HEAD).find(b"MPF\0") + 4
    return [origin + int(entry.get("DataOffset", 0)) for entry in entries[1:_MOST]]


def _marked(file: Any, start: int, kind: str) -> bool:
    file.seek(start)
    head = file.read(_HEAD)
    if kind in ("AVIF", "HEIF"):
        # the items are named in the meta box, before the pictures' data
        return any(mark in head.partition(b"mdat")[0] for mark in (*_MARKS, b"tmap"))
    return any(mark in head[: _scan(head)] for mark in _MARKS)


def _scan(head: bytes) -> int:
    """Where a JPEG's segments end and its first scan begins (ITU-T T.81, B.1); a segment may hold another JPEG."""
    at = 2
    while head[at : at + 1] == b"\xff" and head[at + 1 : at + 2] != b"\xda":
        at += 2 + int.from_bytes(head[at + 2 : at + 4])
    return at
