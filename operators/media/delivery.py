"""Files whose decoded sound meets a loudness target and never passes a true-peak ceiling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from operators.media.codings import Coding, SoundFile
from operators.media.loudness import Level, Loudness, levelled, measure, measure_peaks
from operators.media.peaks import STRETCHES, dipped
from operators.media.sound import stereo
from schemas.errors import AssetError
from schemas.pipelines import AudioParams

# Lossy coding raises peaks, by how much is known only afterwards: a first margin saves most second tries.
_MARGIN_DB = 1.0
# What coding adds comes and goes with the sound that goes in, so that small steps change nothing.
_STEP_DB, _GAIN_STEP_DB, _DIP_STEP_DB = 1.3, 0.2, 0.6
# Up to this share of all stretches the gain dips there alone: a lower ceiling costs all of the sound its dynamics.
_FEW = 0.02
_TRIES, _TRIES_FOR_PEAK = 4, 8
_GUESSES = 4
_SOFT_DB = 2.0
_HARDEST_DB = 12.0
_CLOSE_LU = 0.1


@dataclass(frozen=True)
class Made:
    """One encoded file: the level that was applied, what its decoded sound measures, and how often it was encoded.

    `code`: silence, peak_bound or ""; `dip`: the least gain (dB) that was added where coding had raised a peak.
    """

    level: Level
    after: Loudness
    passes: int = 1
    code: str = ""
    dip: float = 0.0


class Delivery:
    """Encodes until the decoded files hold the target; the peak ceiling wins where both cannot be met."""

    def __init__(self, path: Path | str, folder: Path, params: AudioParams, before: Loudness, track: int = 0) -> None:
        self._path, self._folder, self._rate, self._track = path, folder, params.sample_rate, track
        self._before, self._target = before, params.loudness
        self._aim = self._target.target_lufs
        self._dips = np.zeros(math.ceil(before.seconds * STRETCHES))
        self._peaks: dict[str, np.ndarray] = {}

    def make(self, files: Mapping[str, Coding]) -> dict[str, Made]:
        """Encodes the files (name -> coding), all in one pass; those that do not hold yet in further ones."""
        if self._before.is_silent:
            return self._encode(files, Level(), 1, "silence")
        level, made, passes, pending = self._first_level(), dict[str, Made](), 0, files
        while pending:
            passes += 1
            made |= self._encode(pending, level, passes)
            pending = {name: coding for name, coding in pending.items() if not self._holds(made[name].after, passes)}
            if pending:
                level = self._next_level(level, {name: made[name].after for name in pending}, passes)
        return made

    def _is_near(self, after: Loudness) -> bool:
        return abs(after.integrated - self._target.target_lufs) <= self._target.tolerance_lu

    def _holds(self, after: Loudness, passes: int) -> bool:
        """Whether a file is good; after enough tries the peak alone decides."""
        if after.true_peak > self._target.peak_dbtp:
            if passes >= _TRIES_FOR_PEAK:
                raise AssetError("internal", f"true peak {after.true_peak:.2f} dBTP after {passes} passes")
            return False
        return self._is_near(after) or passes >= _TRIES

    def _first_level(self) -> Level:
        """The gain to the target, and a limiter if the peaks would pass the ceiling then."""
        gain = self._aim - self._before.integrated
        ceiling = self._target.peak_dbtp - _MARGIN_DB
        over = self._before.true_peak + gain - ceiling
        if over <= 0:
            return Level(gain)
        return self._settled(Level(gain, ceiling)) if over > _SOFT_DB else Level(gain, ceiling)

    def _next_level(self, level: Level, after: Mapping[str, Loudness], passes: int) -> Level:
        """Dips where few peaks passed the ceiling, else lowers it, and seeks the gain anew; at last lowers both."""
        over = max(one.true_peak for one in after.values()) - self._target.peak_dbtp
        missing = self._target.target_lufs - next(iter(after.values())).integrated
        ceiling = level.ceiling
        if over > 0 and not self._dip(after):
            step = _STEP_DB if passes == 1 else _STEP_DB / 2
            ceiling = (self._target.peak_dbtp if ceiling is None else ceiling) - step
        if passes >= _TRIES:
            return Level(level.gain - over - _GAIN_STEP_DB * passes, ceiling)
        if ceiling == level.ceiling and all(map(self._is_near, after.values())):
            return level
        if ceiling is None:
            return Level(level.gain + missing)
        if abs(missing) > self._target.tolerance_lu:
            self._aim += missing
        return self._settled(Level(level.gain, ceiling))

    def _dip(self, names: Iterable[str]) -> bool:
        """Lowers the gain where peaks of these files are too high; False where those are more than a few."""
        over = np.zeros_like(self._dips)
        for name in names:
            found = self._peaks[name][: len(over)] - self._target.peak_dbtp
            over[: len(found)] = np.maximum(over[: len(found)], found)
        if not over.any() or np.mean(over > 0) > _FEW:
            return False
        self._dips -= np.where(over > 0, over + _DIP_STEP_DB, 0)
        return True

    def _settled(self, level: Level) -> Level:
        """A limiter takes loudness away: the gain that gives it back, found by secants without encoding."""
        most = self._target.target_lufs - self._before.integrated + _HARDEST_DB
        slope, previous = 1.0, None
        for _ in range(_GUESSES):
            found = self._limited(level)
            if previous is not None and abs(level.gain - previous[0]) > 0.01:
                slope = (found - previous[1]) / (level.gain - previous[0])
            missing = self._aim - found
            if abs(missing) < _CLOSE_LU or (missing > 0 and level.gain >= most):
                break
            previous = level.gain, found
            level = Level(min(most, level.gain + missing / min(1.0, max(0.25, slope))), level.ceiling)
        return level

    def _limited(self, level: Level) -> float:
        """Loudness (LUFS) at a level; a limiter of sample peaks tells it as well and costs a quarter."""
        return measure(levelled(self._source(), level, self._rate, oversample=1), peaks=False).integrated

    def _source(self) -> Iterator[Any]:
        return stereo(self._path, self._rate, self._track)

    def _encode(self, files: Mapping[str, Coding], level: Level, passes: int, code: str = "") -> dict[str, Made]:
        """One pass over the source feeds all encoders; then each file is decoded and measured."""
        with ExitStack() as stack:
            writers = [stack.enter_context(SoundFile(self._folder / name, coding)) for name, coding in files.items()]
            for frame in dipped(levelled(self._source(), level, self._rate), self._dips, self._rate):
                for writer in writers:
                    writer.write(frame)
        return {name: self._measured(name, level, passes, code) for name in files}

    def _measured(self, name: str, level: Level, passes: int, code: str) -> Made:
        after, self._peaks[name] = measure_peaks(stereo(self._folder / name, self._rate))
        code = code or ("" if self._is_near(after) else "peak_bound")
        return Made(level, after, passes, code, float(self._dips.min(initial=0)))
