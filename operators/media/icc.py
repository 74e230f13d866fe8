"""ICC profiles (ICC.1:2022) of colours that are named by code points of ITU-T H.273, and the points that one names."""

from __future__ import annotations

import struct
from itertools import accumulate

import numpy as np

from operators.media import h273
from operators.media.tonemap import between

_NAMES = {1: "Rec. 709", 9: "Rec. 2020", 12: "Display P3"}
# curves by which pictures are coded for a display: those of video stand for sRGB's, as browsers take them
_LIKE_SRGB, _GAMMA = {1, 2, 6, 13, 14, 15}, {4: 2.2, 5: 2.8, 8: 1.0}
_BT709 = 1
# parametric curve 3: the line up to d, above it a power (IEC 61966-2-1)
_SRGB_CURVE = (3, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
_FALLBACK = (0, (2.4,))
_D50 = (0.9642, 1.0, 0.8249)
# of D65 to D50 by the Bradford transform (ICC.1:2022, annex E)
_BRADFORD = (
    (1.0478112, 0.0228866, -0.0501270),
    (0.0295424, 0.9904844, -0.0170491),
    (-0.0092345, 0.0150436, 0.7521316),
)
_HEAD, _ENTRY = 128, 12
_VERSION = 0x04400000


def profile(primaries: int, transfer: int) -> bytes | None:
    """A display profile of that colour; None for sRGB's own, and for what is not known.

    PQ and HLG are told by a tag of their code points alone: a profile's curve does not reach beyond white.
    """
    hdr = h273.HDR.get(h273.TRANSFER.get(transfer, ""))
    curve = _FALLBACK if hdr else _curve(transfer)
    if primaries not in _NAMES or curve is None or (primaries == _BT709 and curve == _SRGB_CURVE):
        return None
    tags = _tags(h273.PRIMARIES[primaries], curve)
    tags[b"desc"] = _text(f"{_NAMES[primaries]} {hdr.upper()}" if hdr else _NAMES[primaries])
    tags |= {b"cicp": b"cicp" + bytes((0, 0, 0, 0, primaries, transfer, h273.RGB_MATRIX, 1))} if hdr else {}
    return _written(tags)


def code_points(icc: bytes) -> tuple[int, int] | None:
    """(primaries, transfer) of a profile that names them; None where it does not, or cannot be read."""
    count = int.from_bytes(icc[_HEAD : _HEAD + 4], "big")
    first = _HEAD + 4
    for place in range(first, min(len(icc), first + _ENTRY * count), _ENTRY):
        if icc[place : place + 4] == b"cicp":
            at = int.from_bytes(icc[place + 4 : place + 8], "big")
            points = icc[at + 8 : at + 10]
            return (points[0], points[1]) if len(points) == 2 else None
    return None


def _curve(transfer: int) -> tuple[int, tuple[float, ...]] | None:
    if transfer in _LIKE_SRGB:
        return _SRGB_CURVE
    return (0, (_GAMMA[transfer],)) if transfer in _GAMMA else None


def _tags(primaries: str, curve: tuple[int, tuple[float, ...]]) -> dict[bytes, bytes]:
    kind, numbers = curve
    shape = b"para" + struct.pack(">IHH", 0, kind, 0) + _fixed(*numbers)
    columns = (np.array(_BRADFORD) @ between(primaries, "xyz")).T
    return {
        b"cprt": _text("No rights reserved"),
        b"wtpt": _xyz(*_D50),
        b"chad": b"sf32" + bytes(4) + _fixed(*(number for row in _BRADFORD for number in row)),
        **{name: _xyz(*column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), shape),
    }


def _fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(*values)


def _text(text: str) -> bytes:
    """One string in English, multi-localized (ICC.1:2022, 10.15)."""
    data = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">III2s2sII", 0, 1, 12, b"en", b"US", len(data), 28) + data


def _written(tags: dict[bytes, bytes]) -> bytes:
    bodies = [body + bytes(-len(body) % 4) for body in tags.values()]
    first = _HEAD + 4 + _ENTRY * len(tags)
    places = list(accumulate(map(len, bodies), initial=first))
    entries = [
        struct.pack(">4sII", name, place, len(body)) for (name, body), place in zip(tags.items(), places, strict=False)
    ]
    head = struct.pack(">I4sI4s4s4s", places[-1], bytes(4), _VERSION, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + _fixed(*_D50)
    return b"".join([head.ljust(_HEAD, b"\0"), struct.pack(">I", len(tags)), *entries, *bodies])
