"""Loudness by EBU R128 / ITU-R BS.1770: measured, and brought to a target under a true-peak ceiling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from operators.media.sound import Chain, Filters, silence, through

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
    """Measures frames as they pass; all have one format, fltp."""

    def __init__(self, peaks: bool = True) -> None:
        self._filters = (("ebur128", f"peak={'true' if peaks else 'none'}:metadata=1"),)
        self._chain: Chain | None = None
        self._last: Any = None
        self._found: dict[str, str] = {}
        self._samples = 0

    def push(self, frame: Any) -> None:
        """Takes the next frame."""
        self._chain = self._chain or Chain(frame, self._filters)
        self._samples += frame.samples
        self._last = frame
        self._feed(frame)

    def _feed(self, frame: Any | None) -> None:
        assert self._chain is not None
        for out in self._chain.push(frame):
            self._found = out.metadata or self._found

    def result(self) -> Loudness:
        """What was measured; ends the meter.

        The filter reports every 100 ms: silence is added so that a peak in the last moments is reported too,
        but the integrated loudness is the one before it.
        """
        if self._chain is None:
            return Loudness(FLOOR_LUFS, 0.0, _db(0.0), 0.0)
        sound, rate = self._found, self._last.sample_rate
        padding = silence(self._last, rate // 5)
        padding.pts = self._samples
        self._feed(padding)
        peaks = [float(value) for key, value in self._found.items() if "true_peaks_ch" in key]
        return Loudness(
            integrated=max(FLOOR_LUFS, float(sound.get("lavfi.r128.I", FLOOR_LUFS))),
            range=float(sound.get("lavfi.r128.LRA", 0.0)),
            true_peak=_db(max(peaks, default=0.0)),
            seconds=self._samples / rate,
        )


def _db(amplitude: float) -> float:
    return 20 * math.log10(max(amplitude, _QUIETEST))


def measure(frames: Iterable[Any], peaks: bool = True) -> Loudness:
    """Loudness of fltp stereo frames; -120 dBTP without `peaks`, which is faster."""
    meter = Meter(peaks)
    for frame in frames:
        meter.push(frame)
    return meter.result()


def levelled(frames: Iterable[Any], level: Level, rate: int, oversample: int = 4) -> Iterator[Any]:
    """Fltp stereo frames at `rate` Hz with a level applied; the number of samples stays."""
    filters = level.filters(rate, oversample)
    return through(frames, filters) if filters else iter(frames)
