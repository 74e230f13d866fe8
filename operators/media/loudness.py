"""Loudness by EBU R128 / ITU-R BS.1770: measured, and brought to a target under a true-peak ceiling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.media.peaks import Peaks, decibels
from operators.media.sound import Chain, Filters, through

FLOOR_LUFS = -70.0
SHORTEST_S = 0.4
_QUIETEST = 1e-6


@dataclass(frozen=True)
class Loudness:
    """Integrated loudness (LUFS, -70 where all is gated), loudness range (LU), true peak (dBTP)."""

    integrated: float
    range: float
    true_peak: float
    seconds: float

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to measure: silence, or less than one gating block of 400 ms."""
        return self.seconds < SHORTEST_S or self.integrated <= FLOOR_LUFS


@dataclass(frozen=True)
class Level:
    """What is applied: gain (dB), then a true-peak limiter with its ceiling (dBTP), or none."""

    gain: float = 0.0
    ceiling: float | None = None

    @property
    def mode(self) -> str:
        """In a word: unchanged, linear (gain alone) or limited."""
        return "limited" if self.ceiling is not None else "linear" if self.gain else "unchanged"

    def filters(self, rate: int, oversample: int = 4) -> Filters:
        """The limiter runs at four times the rate, where sample peaks are true peaks (BS.1770-5, annex 2)."""
        gain = (("volume", f"{self.gain:.3f}dB:precision=float"),) if self.gain else ()
        if self.ceiling is None:
            return gain
        limit = f"limit={max(0.0625, 10 ** (self.ceiling / 20)):.5f}:attack=5:release=50:level=0:latency=1"
        form = f"sample_fmts=fltp:sample_rates={rate}:channel_layouts=stereo"
        up, down = ("aresample", str(oversample * rate)), ("aresample", str(rate))
        return (*gain, up, ("alimiter", limit), down, ("aformat", form))


class Meter:
    """Measures frames as they pass; all have one format, fltp.

    Peaks are found in single precision, faster than the filter's own and within 0.01 dB of them.
    """

    def __init__(self, peaks: bool = True) -> None:
        self._with_peaks = peaks
        self._loudness: Chain | None = None
        self._peaks: Chain | None = None
        self._last: Any = None
        self._tops: Peaks | None = None
        self._samples, self._rate = 0, 1

    def push(self, frame: Any) -> None:
        """Takes the next frame."""
        self._loudness = self._loudness or Chain(frame, (("ebur128", "metadata=1"),))
        if self._with_peaks:
            self._peaks = self._peaks or Chain(frame, _oversampled(frame.sample_rate))
        self._samples += frame.samples
        self._rate = frame.sample_rate
        for out in self._loudness.push(frame):
            self._last = out
        self._top_of(frame)

    def _top_of(self, frame: Any | None) -> None:
        for out in self._peaks.push(frame) if self._peaks else ():
            self._tops = self._tops or Peaks(out.sample_rate)
            self._tops.push(out.to_ndarray())

    def peaks(self) -> np.ndarray:
        """True peaks (dBTP) by stretch (`peaks.STRETCHES` a second), once `result` has ended the meter."""
        return decibels(self._tops.result() if self._tops else np.zeros(1), _QUIETEST)

    def result(self) -> Loudness:
        """What was measured; ends the meter."""
        self._top_of(None)
        sound = {} if self._last is None else dict(self._last.metadata)
        return Loudness(
            integrated=max(FLOOR_LUFS, float(sound.get("lavfi.r128.I", FLOOR_LUFS))),
            range=float(sound.get("lavfi.r128.LRA", 0.0)),
            true_peak=float(self.peaks().max()),
            seconds=self._samples / self._rate,
        )


def _oversampled(rate: int) -> Filters:
    """Four times the rate, where sample peaks are true peaks (BS.1770-5, annex 2)."""
    return (("aresample", str(4 * rate)), ("aformat", f"sample_fmts=fltp:sample_rates={4 * rate}"))


def measure(frames: Iterable[Any], peaks: bool = True) -> Loudness:
    """Loudness of fltp stereo frames; -120 dBTP without `peaks`, which is faster."""
    return measure_peaks(frames, peaks)[0]


def measure_peaks(frames: Iterable[Any], peaks: bool = True) -> tuple[Loudness, np.ndarray]:
    """The same, and the true peaks (dBTP) by stretch (`peaks.STRETCHES` a second)."""
    meter = Meter(peaks)
    for frame in frames:
        meter.push(frame)
    return meter.result(), meter.peaks()


def levelled(frames: Iterable[Any], level: Level, rate: int, oversample: int = 4) -> Iterator[Any]:
    """Fltp stereo frames at `rate` Hz with a level applied; the number of samples stays."""
    filters = level.filters(rate, oversample)
    return through(frames, filters) if filters else iter(frames)
