"""How a stored picture stands upright, and the sizes of what is made from it: (width, height) in pixels."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from typing import Any, Literal, cast

from av.sidedata.sidedata import Type

Rotation = Literal[0, 90, 180, 270]
_MATRIX = struct.Struct("=9i")


def orientation(frame: Any) -> tuple[Rotation, bool]:
    """(degrees clockwise, mirrored first) of a decoded frame's display matrix (ISO/IEC 14496-12, 6.2.2)."""
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None or len(bytes(data)) < _MATRIX.size:
        return 0, False
    a, b, _, c, d, *_rest = _MATRIX.unpack_from(bytes(data))
    mirrored = a * d - b * c < 0
    angle = math.degrees(math.atan2(-b, -a) if mirrored else math.atan2(b, a))
    return cast(Rotation, round(angle / 90) * 90 % 360), mirrored


def upright_filters(rotation: int, mirrored: bool) -> tuple[tuple[str, str], ...]:
    """Filters (name, arguments) that turn a stored picture upright."""
    turns: dict[int, tuple[tuple[str, str], ...]] = {
        0: (),
        90: (("transpose", "clock"),),
        180: (("hflip", ""), ("vflip", "")),
        270: (("transpose", "cclock"),),
    }
    return ((("hflip", ""),) if mirrored else ()) + turns[rotation]


def square(width: int, height: int, pixel_aspect: Fraction) -> tuple[Fraction, Fraction]:
    """The stored size in square pixels: the height stays, the width follows."""
    return Fraction(width) * (pixel_aspect if pixel_aspect > 0 else 1), Fraction(height)


def _even(value: Fraction, most: Fraction) -> int:
    return max(2, min(2 * round(value / 2), 2 * math.floor(most / 2)))


def fitted(size: tuple[Fraction, Fraction], short: int) -> tuple[int, int]:
    """Even size with the same aspect whose shorter side is at most `short`; never larger than `size`."""
    scale = min(Fraction(1), Fraction(short) / min(size))
    return _even(size[0] * scale, size[0]), _even(size[1] * scale, size[1])


def turned(size: tuple[int, int], rotation: int) -> tuple[int, int]:
    """The size after the picture was turned upright."""
    return (size[1], size[0]) if rotation in (90, 270) else size
