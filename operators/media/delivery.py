"""AAC files whose decoded sound meets a loudness target and never passes a true-peak ceiling."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from operators.media.loudness import Level, Loudness, levelled, measure
from operators.media.sound import stereo
from schemas.errors import AssetError
from schemas.pipelines import AudioParams

# AAC raises peaks, by how much is known only afterwards: a first margin saves most second tries.
_MARGIN_DB = 1.0
_STEP_DB = 0.2
_TRIES, _TRIES_FOR_PEAK = 4, 8
_GUESSES = 4
_SOFT_DB = 2.0
_HARDEST_DB = 12.0
_CLOSE_LU = 0.1


def bit_rates(params: AudioParams) -> dict[str, int]:
    """The delivered files by name, with their bit/s."""
    return {"audio": params.bit_rate, "preview": params.preview_bit_rate}


@dataclass(frozen=True)
class Made:
    """One encoded file: the level that was applied, and what its decoded sound measures."""

    level: Level
    after: Loudness


class Delivery:
    """Encodes until the decoded files hold the target; the peak ceiling wins where both cannot be met."""

    def __init__(self, path: Path | str, folder: Path, params: AudioParams, before: Loudness) -> None:
        self._path, self._folder, self._rate = path, folder, params.sample_rate
        self._before, self._target = before, params.loudness
        self._aim = self._target.target_lufs

    def make(self, files: dict[str, int]) -> tuple[dict[str, Made], int]:
        """Encodes the files (name -> bit/s); returns what they measure and the number of encoding passes."""
        if self._before.is_silent:
            return self._encode(files, Level()), 1
        level, made, passes, pending = self._first_level(), dict[str, Made](), 0, files
        while pending:
            made |= self._encode(pending, level)
            passes += 1
            pending = {n: r for n, r in pending.items() if not self._holds(made[n].after, passes)}
            if pending:
                level = self._next_level(level, [made[name].after for name in pending], passes)
        return made, passes

    def _holds(self, after: Loudness, passes: int) -> bool:
        """Whether a file is good; after enough tries the peak alone decides."""
        near = abs(after.integrated - self._target.target_lufs) <= self._target.tolerance_lu
        if after.true_peak > self._target.peak_dbtp:
            if passes >= _TRIES_FOR_PEAK:
                raise AssetError("internal", f"true peak {after.true_peak:.2f} dBTP after {passes} passes")
            return False
        return near or passes >= _TRIES

    def _first_level(self) -> Level:
        """The gain to the target, and a limiter if the peaks would pass the ceiling then."""
        gain = self._aim - self._before.integrated
        ceiling = self._target.peak_dbtp - _MARGIN_DB
        over = self._before.true_peak + gain - ceiling
        if over <= 0:
            return Level(gain)
        return self._settled(Level(gain, ceiling)) if over > _SOFT_DB else Level(gain, ceiling)

    def _next_level(self, level: Level, after: list[Loudness], passes: int) -> Level:
        """Lowers the ceiling by what passed it and seeks the gain anew; at last lowers both."""
        over = max(one.true_peak for one in after) - self._target.peak_dbtp
        missing = self._target.target_lufs - after[0].integrated
        ceiling = level.ceiling
        if over > 0:
            ceiling = (self._target.peak_dbtp if ceiling is None else ceiling) - over - _STEP_DB * passes
        if passes >= _TRIES:
            return Level(level.gain - over - _STEP_DB * passes, ceiling)
        if ceiling is None:
            return Level(level.gain + missing)
        if abs(missing) > self._target.tolerance_lu:
            self._aim += missing
        return self._settled(Level(level.gain, ceiling))

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
        sound = levelled(stereo(self._path, self._rate), level, self._rate, oversample=1)
        return measure(sound, peaks=False).integrated

    def _encode(self, files: dict[str, int], level: Level) -> dict[str, Made]:
        """One pass over the source feeds all encoders; then each file is decoded and measured."""
        with ExitStack() as stack:
            writers = [
                stack.enter_context(_AacFile(self._folder / name, self._rate, bits)) for name, bits in files.items()
            ]
            for frame in levelled(stereo(self._path, self._rate), level, self._rate):
                for writer in writers:
                    writer.write(frame)
        return {name: Made(level, measure(stereo(self._folder / name, self._rate))) for name in files}


class _AacFile:
    """AAC-LC stereo in a faststart MP4; its encoder's priming is declared in the edit list."""

    def __init__(self, path: Path, rate: int, bit_rate: int) -> None:
        options = {"movflags": "+faststart", "movie_timescale": str(rate)}
        self._container = av.open(str(path), "w", format="ipod", options=options)
        self._stream: Any = self._container.add_stream("aac", rate=rate, layout="stereo")
        self._stream.bit_rate = bit_rate

    def write(self, frame: Any) -> None:
        """Encodes fltp stereo."""
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> _AacFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()
