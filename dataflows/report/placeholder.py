"""ThumbHash to a tiny PNG: what a card shows before, or instead of, its picture."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

import numpy as np
from PIL import Image

_SIDE = 32


def placeholder(thumbhash: str) -> str:
    """A data: URI of a PNG (sRGB, 32 pixels a side at most) of a base64 ThumbHash; "" for a malformed one."""
    try:
        pixels = decode(base64.b64decode(thumbhash, validate=True))
    except (binascii.Error, IndexError, ValueError):
        return ""
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def decode(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """RGBA pixels, uint8 [height, width, 4], of a ThumbHash. Raises IndexError for too few bytes.

    Not by the thumbhash package: version 0.1.2 decodes every pixel with the first pixel's cosines and prints.
    """
    head, tail = int.from_bytes(data[:3], "little"), int.from_bytes(data[3:5], "little")
    alpha, landscape = bool(head >> 23), bool(tail >> 15)
    longest, shortest = (5 if alpha else 7), tail & 7
    across, down = (longest, shortest) if landscape else (shortest, longest)
    ratio = across / max(1, down)
    width, height = (_SIDE, round(_SIDE / ratio)) if ratio > 1 else (max(1, round(_SIDE * ratio)), _SIDE)
    nibbles = iter([n for byte in data[6 if alpha else 5 :] for n in (byte & 15, byte >> 4)])

    def channel(dc: float, scale: float, nx: int, ny: int) -> np.ndarray[Any, Any]:
        coefficients = np.zeros((ny, nx))
        coefficients[0, 0] = dc
        for y in range(ny):
            for x in range(0 if y else 1, nx):
                if x * ny < nx * (ny - y):
                    coefficients[y, x] = (_next(nibbles) / 7.5 - 1) * scale * 2
        return _cosines(height, ny) @ coefficients @ _cosines(width, nx).T

    lightness = channel((head & 63) / 63, (head >> 18 & 31) / 31, max(3, across), max(3, down))
    yellow = channel((head >> 6 & 63) / 31.5 - 1, (tail >> 3 & 63) / 63 * 1.25, 3, 3)
    red_green = channel((head >> 12 & 63) / 31.5 - 1, (tail >> 9 & 63) / 63 * 1.25, 3, 3)
    opacity = channel((data[5] & 15) / 15, (data[5] >> 4) / 15, 5, 5) if alpha else np.ones((height, width))
    blue = lightness - 2 / 3 * yellow
    red = (3 * lightness - blue + red_green) / 2
    rgba = np.stack([red, red - red_green, blue, opacity], axis=2)
    return (np.clip(rgba, 0, 1) * 255).round().astype(np.uint8)


def _cosines(size: int, count: int) -> np.ndarray[Any, Any]:
    return np.cos(np.pi / size * (np.arange(size)[:, None] + 0.5) * np.arange(count)[None, :])


def _next(nibbles: Any) -> int:
    value = next(nibbles, None)
    if value is None:
        raise IndexError("the ThumbHash is too short")
    return int(value)
