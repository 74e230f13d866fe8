"""ThumbHash: a picture's placeholder in about 25 bytes (evanw/thumbhash, version of 2023).

Written here because the PyPI package fails on every picture with alpha and takes 40 ms; this takes one.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST_SIDE = 100
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Channel:
    """A channel's mean, its cosine coefficients as 4-bit numbers in the format's order, and their scale."""

    dc: float
    ac: list[int]
    scale: float


def _round(value: float) -> int:
    """Half goes up, as in the reference (Python's own goes to even)."""
    return int(np.floor(value + 0.5))


def _basis(size: int, count: int) -> Floats:
    """Cosines (count, size) of the discrete cosine transform, type II."""
    return np.cos(np.pi / size * np.outer(np.arange(count), np.arange(size) + 0.5))


def _channel(values: Floats, nx: int, ny: int) -> _Channel:
    """The nx by ny lowest frequencies of (height, width) values, those under the diagonal only."""
    height, width = values.shape
    spectrum = _basis(height, ny) @ values @ _basis(width, nx).T / values.size
    kept = [spectrum[y, x] for y in range(ny) for x in range(nx) if x * ny < nx * (ny - y)]
    scale = float(np.abs(kept[1:]).max())
    ac = [_round(15 * (0.5 + 0.5 / scale * f)) if scale else 0 for f in kept[1:]]
    return _Channel(float(kept[0]), ac, scale)


def _luma_size(width: int, height: int, limit: int) -> tuple[int, int]:
    longest = max(width, height)
    return max(1, _round(limit * width / longest)), max(1, _round(limit * height / longest))


def _lpqa(rgba: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats, Floats]:
    """Luminance, yellow-blue, red-green and alpha, 0..1, over the average colour where transparent."""
    alpha = rgba[..., 3:] / 255.0
    rgb = rgba[..., :3] / 255.0
    total = alpha.sum()
    mean = (rgb * alpha).sum(axis=(0, 1)) / total if total else np.zeros(3)
    r, g, b = np.moveaxis(mean * (1 - alpha) + rgb * alpha, -1, 0)
    return (r + g + b) / 3, (r + g) / 2 - b, r - g, alpha[..., 0]


def _bytes_of(number: int, count: int) -> bytes:
    return number.to_bytes(count, "little")


def encode(rgba: NDArray[np.uint8]) -> bytes:
    """The ThumbHash of (height, width, 4) uint8 RGBA, not premultiplied, sRGB, at most 100 pixels a side."""
    height, width = rgba.shape[:2]
    if max(height, width) > MOST_SIDE:
        raise ValueError(f"{width}x{height} does not fit in {MOST_SIDE}x{MOST_SIDE}")
    luma, yellow_blue, red_green, opacity = _lpqa(rgba)
    has_alpha = bool((rgba[..., 3] < 255).any())
    nx, ny = _luma_size(width, height, 5 if has_alpha else 7)
    l = _channel(luma, max(3, nx), max(3, ny))  # noqa: E741  (the format's own name)
    p, q = _channel(yellow_blue, 3, 3), _channel(red_green, 3, 3)
    landscape = width > height
    first = _round(63 * l.dc) | _round(31.5 + 31.5 * p.dc) << 6 | _round(31.5 + 31.5 * q.dc) << 12
    first |= _round(31 * l.scale) << 18 | has_alpha << 23
    second = (ny if landscape else nx) | _round(63 * p.scale) << 3 | _round(63 * q.scale) << 9 | landscape << 15
    head, numbers = _bytes_of(first, 3) + _bytes_of(second, 2), l.ac + p.ac + q.ac
    if has_alpha:
        a = _channel(opacity, 5, 5)
        head, numbers = head + _bytes_of(_round(15 * a.dc) | _round(15 * a.scale) << 4, 1), numbers + a.ac
    return head + _nibbles(numbers)


def _nibbles(numbers: list[int]) -> bytes:
    """Two 4-bit numbers a byte, the low half first."""
    padded = numbers + [0] * (len(numbers) % 2)
    return bytes(low | high << 4 for low, high in zip(padded[::2], padded[1::2], strict=True))


def thumb_hash(image: Image.Image) -> str:
    """Base64 of the ThumbHash of any upright sRGB picture; it is reduced to 100 pixels a side first."""
    small = image.copy() if max(image.size) <= MOST_SIDE else _reduced(image)
    return base64.b64encode(encode(np.asarray(small.convert("RGBA")))).decode()


def _reduced(image: Image.Image) -> Image.Image:
    factor = MOST_SIDE / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
