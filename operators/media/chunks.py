"""Where a video can be cut, and when each picture is shown: read from its packets, nothing is decoded."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from operators.media.source import UNCUT, corrupt, only, opened, origin_of, packets_of, rate_of, video_of
from schemas.errors import AssetError

Range = tuple[int | None, int | None]
_SHARE, _SHORTEST = 4, 5
# The first segment: how long it is meant to be (s), at which key frames it may end instead, and up to which length
# it holds a whole video.
_FIRST_S, _FIRST_KEYS_S, _WHOLE_S = Fraction(2), (Fraction(3, 2), Fraction(3)), Fraction(3)
FIRST_WINDOW_S = Fraction(7, 2)


@dataclass(frozen=True)
class Timeline:
    """A video's pictures in time. Times are `pts` in ticks of `time_base` seconds, on the container's clock.

    `origin` (s, same clock) is the asset's zero; `last` is when the last picture begins, `end` when it ends;
    `variable` tells of an uneven rate; `pictures` are the sorted pts of all pictures, `keys` those at
    which the video can be cut.
    """

    time_base: Fraction
    origin: Fraction
    end: int
    variable: bool
    rate: Fraction
    pictures: array[int]
    keys: tuple[int, ...]

    @property
    def first(self) -> int:
        """pts of the first picture."""
        return self.pictures[0]

    @property
    def last(self) -> int:
        """pts of the last picture."""
        return self.pictures[-1]

    @property
    def duration(self) -> float:
        """Seconds from the origin to the end of the last picture."""
        return float(self.end * self.time_base - self.origin)

    def seconds(self, pts: int) -> float:
        """Seconds from the asset's zero."""
        return float(pts * self.time_base - self.origin)

    @property
    def first_cut(self) -> int | None:
        """pts of the picture before which the first segment ends: a key frame of the source where one is near.

        None where it holds the whole video. The pictures of the first `FIRST_WINDOW_S` decide, so that it is the same
        whether the rest is known or not.
        """
        if (self.end - self.first) * self.time_base <= _WHOLE_S:
            return None
        least, most = (self.first + seconds / self.time_base for seconds in _FIRST_KEYS_S)
        meant = self.first + _FIRST_S / self.time_base
        near = [key for key in self.keys if least <= key <= most]
        if near:
            return min(near, key=lambda key: (abs(key - meant), key))
        place = bisect_left(self.pictures, meant)
        return self.pictures[place] if place < len(self.pictures) else None

    def shown_at(self, seconds: float) -> int:
        """pts of the picture that is on screen at this time; of the first one before it begins."""
        wanted = (Fraction(seconds) + self.origin) / self.time_base
        return self.pictures[max(0, bisect_right(self.pictures, wanted) - 1)]


def read_timeline(path: Path | str) -> Timeline:
    """Reads every packet of the first video track. Errors: no_media_stream, no_key_frame, corrupt_media."""
    with opened(path) as container:
        video = video_of(container)
        if video is None:
            raise AssetError("no_media_stream", "no video track")
        only(container, video)
        return timeline_of(container, video, packets_of(container, video))


def timeline_of(container: InputContainer, video: Any, packets: Iterable[Any]) -> Timeline:
    """The timeline of a track's packets from its start on, in order. Errors as `read_timeline`."""
    pictures, keys, last_duration = _collected(packets, video.time_base)
    if container.format.name in UNCUT:
        keys = keys[:1]
    return _timeline(pictures, keys, last_duration, video, origin_of(container))


def _collected(packets: Iterable[Any], time_base: Fraction) -> tuple[array[int], list[int], int]:
    """All pts, the pts of key frames, and how long the last picture lasts (0 where unknown)."""
    pictures, keys, latest, duration = array("q"), [], None, 0
    try:
        for packet in packets:
            if not packet.size or packet.is_discard:
                continue
            if packet.pts is None:
                raise corrupt("video", None, "a picture has no time")
            pictures.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
            if latest is None or packet.pts > latest:
                latest, duration = packet.pts, packet.duration or 0
    except av.FFmpegError as error:
        raise corrupt("video", None if latest is None else latest * time_base, error) from error
    return pictures, keys, duration


def _timeline(pictures: array[int], keys: list[int], last: int, video: Any, origin: Fraction) -> Timeline:
    if not pictures:
        raise AssetError("truncated", "the video track holds no picture")
    if not keys:
        raise AssetError("no_key_frame", "no packet holds a key frame")
    ordered = np.sort(np.frombuffer(pictures, np.int64))
    steps = np.diff(ordered)
    mean = Fraction(int(ordered[-1] - ordered[0]), max(1, len(steps)))
    rate = rate_of(video) or (1 / (mean * video.time_base) if mean else Fraction(25))
    return Timeline(
        time_base=video.time_base,
        origin=origin,
        end=int(ordered[-1]) + (last or round(1 / (rate * video.time_base))),
        variable=_is_variable(steps),
        rate=Fraction(rate).limit_denominator(1_001_000),
        pictures=array("q", ordered.tobytes()),
        keys=tuple(sorted(keys)),
    )


def _is_variable(steps: np.ndarray) -> bool:
    """Uneven by more than the rounding to ticks and 2 %."""
    return bool(len(steps)) and float(np.ptp(steps)) > max(1.0, 0.02 * float(steps.mean()))


def plan_chunks(keys: Sequence[int], end: int, time_base: Fraction, seconds: float) -> tuple[Range, ...]:
    """Ranges [start, stop) of pts from key frame to key frame, each of `seconds` or the next key frame after.

    Towards the end they are a quarter of what is left, down to a fifth of `seconds`: workers that take the longest
    first then end together. The first is open below and the last above, so that no picture falls between two.
    """
    borders: list[int] = []
    last = keys[0]
    for key in keys[1:]:
        left = float((end - last) * time_base)
        if (key - last) * time_base >= max(seconds / _SHORTEST, min(seconds, left / _SHARE)):
            borders.append(key)
            last = key
    cuts = [None, *borders, None]
    return tuple(pairwise(cuts))
