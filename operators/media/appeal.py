"""How well a picture stands for its video: sharp, well exposed, colourful; neither black nor flat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_BLACK, _RANGE = 16.0, 219.0
_DARK, _FLAT = 0.05, 0.035
# where each part is half of what it can be; of the samples' pictures, about the median
_HALF_CONTRAST, _HALF_SHARP, _HALF_COLOUR = 0.12, 0.02, 12.0


@dataclass(frozen=True)
class Candidate:
    """A picture that was looked at: its time in s from the asset's zero, its score (0..1), whether it shows enough."""

    time: float
    score: float
    shows: bool


def score(frame: Any, time: float) -> Candidate:
    """The score of an 8-bit 4:2:0 picture of limited range. A fade takes contrast and detail, and so the score."""
    luma = (_plane(frame, 0)[::2, ::2].astype(np.float32) - _BLACK) / _RANGE
    mean, contrast = float(luma.mean()), float(luma.std())
    shows = mean > _DARK and contrast > _FLAT
    worth = 0.35 * _half(contrast, _HALF_CONTRAST) + 0.4 * _half(_detail(luma), _HALF_SHARP)
    worth += 0.25 * _half(_colour(frame), _HALF_COLOUR)
    return Candidate(time, round(worth * _exposure(mean) * (1.0 if shows else 0.05), 4), shows)


def _half(value: float, half: float) -> float:
    """0 for nothing, 0.5 at `half`, towards 1 for much."""
    return value / (value + half)


def _exposure(mean: float) -> float:
    """1 in the middle of the range, towards 0 at black and white."""
    return max(0.1, 1 - (abs(mean - 0.45) / 0.55) ** 2)


def _detail(luma: np.ndarray) -> float:
    """Mean of the absolute Laplacian: the high frequencies that blur and fades lack."""
    middle = 4 * luma[1:-1, 1:-1]
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float(np.abs(middle - around).mean())


def _colour(frame: Any) -> float:
    """Spread and strength of the chroma, after Hasler and Suesstrunk's colourfulness (2003)."""
    blue, red = (_plane(frame, number)[::2, ::2].astype(np.float32) - 128 for number in (1, 2))
    spread = float(np.hypot(blue.std(), red.std()))
    return spread + 0.3 * float(np.hypot(blue.mean(), red.mean()))


def _plane(frame: Any, number: int) -> np.ndarray:
    """A plane's pixels (height, width) uint8, without its padding."""
    plane = frame.planes[number]
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
