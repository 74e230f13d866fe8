"""Peaks by stretches of a tenth of a second, and gain that dips where some of them are too high."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import av
import numpy as np

STRETCHES = 10  # a second


class Peaks:
    """The highest amplitude of each stretch of sound at `rate` Hz."""

    def __init__(self, rate: int) -> None:
        self._size, self._at = rate // STRETCHES, 0
        self._tops: list[float] = []

    def push(self, samples: np.ndarray) -> None:
        """Takes the next samples, of shape (channels, n)."""
        count = samples.shape[1]
        if not count:
            return
        begun = self._at % self._size
        starts = np.arange(-begun, count, self._size).clip(min=0)
        highest = np.maximum.reduceat(samples, starts, axis=1).max(axis=0)
        lowest = np.minimum.reduceat(samples, starts, axis=1).min(axis=0)
        tops = np.maximum(highest, -lowest).tolist()
        if begun:
            tops[0] = max(tops[0], self._tops.pop())
        self._tops += tops
        self._at += count

    def result(self) -> np.ndarray:
        """Amplitudes by stretch, shape (n,)."""
        return np.array(self._tops, np.float64)


def decibels(amplitudes: np.ndarray, least: float) -> np.ndarray:
    """The same in dB; none is taken for less than `least`."""
    found: np.ndarray = 20 * np.log10(np.maximum(amplitudes, least))
    return found


def dipped(frames: Iterable[Any], dips: np.ndarray, rate: int) -> Iterator[Any]:
    """Fltp stereo frames with the gain (dB, none above 0) of each stretch, reached within the stretch before it."""
    if not dips.any():
        yield from frames
        return
    wide = np.pad(dips, 1)
    deepest = np.minimum(np.minimum(wide[:-2], wide[2:]), dips)
    middles = (np.arange(len(dips)) + 0.5) * (rate / STRETCHES)
    at = 0
    for frame in frames:
        gain = np.interp(np.arange(at, at + frame.samples), middles, deepest)
        at += frame.samples
        yield _scaled(frame, gain) if gain.any() else frame


def _scaled(frame: Any, gain: np.ndarray) -> Any:
    samples = (frame.to_ndarray() * 10 ** (gain / 20)).astype(np.float32)
    scaled = av.AudioFrame.from_ndarray(samples, frame.format.name, frame.layout.name)
    scaled.sample_rate, scaled.pts, scaled.time_base = frame.sample_rate, frame.pts, frame.time_base
    return scaled
