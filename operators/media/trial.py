"""A quick trial: what a few stretches of a video cost and look like at some heights and rates, and the rungs from it.

Quality is XPSNR (dB, Helmrich et al., Fraunhofer HHI), luma and chroma weighted 6:1:1, of pictures that were scaled
up again to the size of the reference, as a player shows them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import groupby, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from operators.media.chunks import Timeline, read_timeline
from operators.media.frames import Upright, decoded
from operators.media.geometry import fitted
from operators.media.plan import plan_of
from operators.media.xpsnr import EVERY, coded, scaled, xpsnr
from schemas.errors import AssetError
from schemas.pipelines import ByContent, PreviewParams, Rung, VideoParams
from schemas.technical import Technical

_CRFS = (20, 28, 36)
# a stretch is as long as a GOP, for a key picture costs many times what the others do
_STRETCHES, _STRETCH_S = 3, 2.0
# so much of a reference is held: 190 MB
_LARGEST, _MOST = 1080, 60
_PRESET = "veryfast"


@dataclass(frozen=True)
class Point:
    """What an H.264 encode of this height (the shorter side) and rate factor gave: bit/s, and XPSNR in dB."""

    height: int
    crf: int
    bits: float
    quality: float


@dataclass(frozen=True)
class Stretch:
    """Pictures in a row, upright and in the reference's size, `rate` a second."""

    pictures: tuple[Any, ...]
    rate: Fraction

    def point(self, height: int, crf: int) -> Point:
        """One encode of it."""
        first = self.pictures[0]
        size = fitted((Fraction(first.width), Fraction(first.height)), height)
        packets, shown = coded(scaled(self.pictures, size), self.rate, crf, _PRESET)
        bits = 8 * sum(packets) * float(self.rate) / len(self.pictures)
        return Point(min(size), crf, bits, xpsnr(self.pictures[::EVERY], shown))


def trial(path: Path | str, technical: Technical, video: VideoParams) -> tuple[Point, ...]:
    """Encodes stretches of a video at the mezzanine's height and each smaller one of `by_content`.

    The cost does not grow with the video's length. x264's sizes vary by up to a percent, all else is the same each
    time. Errors: no_media_stream, no_key_frame, corrupt_media.
    """
    params = video.by_content or ByContent()
    stretches = list(stretches_of(path, technical, video))
    top = min(stretches[0].pictures[0].width, stretches[0].pictures[0].height)
    heights = sorted({top, *(height for height in params.heights if height < top)}, reverse=True)
    return measured(stretches, heights)


def measured(stretches: Sequence[Stretch], heights: Iterable[int]) -> tuple[Point, ...]:
    """Every height at several rate factors, the mean over the stretches."""
    return tuple(_mean([one.point(height, crf) for one in stretches]) for height in heights for crf in _CRFS)


def _mean(points: Sequence[Point]) -> Point:
    bits = sum(point.bits for point in points) / len(points)
    quality = sum(point.quality for point in points) / len(points)
    return Point(points[0].height, points[0].crf, bits, quality)


def stretches_of(
    path: Path | str, technical: Technical, video: VideoParams, places: Sequence[Fraction] = ()
) -> Iterator[Stretch]:
    """Stretches of 2 s at these places, 0..1 of the length; else at three that are evenly spread."""
    if technical.video is None:
        raise AssetError("no_media_stream", "no video track")
    timeline = read_timeline(path)
    plan = plan_of(timeline, technical.video, video, PreviewParams())
    size = plan.encodes[0].size
    size = fitted((Fraction(size[0]), Fraction(size[1])), _LARGEST)
    even = [Fraction(2 * i + 1, 2 * _STRETCHES) for i in range(_STRETCHES)]
    count = min(_MOST, max(1, math.ceil(plan.rate * Fraction(_STRETCH_S))))
    for at in sorted({_shown(timeline, place) for place in places or even}):
        upright = Upright(plan.filters, plan.time_base)
        frames = (frame for frame in decoded(path, _key_before(timeline, at), None) if frame.pts >= at)
        pictures = (picture for frame in frames for picture in upright.push(frame))
        yield Stretch(tuple(scaled(islice(pictures, count), size)), plan.rate)


def _shown(timeline: Timeline, place: Fraction) -> int:
    """pts of the picture at a place, but so early that a stretch follows where there is one."""
    last = max(timeline.first, timeline.last - math.ceil(Fraction(_STRETCH_S) / timeline.time_base))
    wanted = min(last, timeline.first + int(place * (timeline.last - timeline.first)))
    return timeline.pictures[max(0, bisect_right(timeline.pictures, wanted) - 1)]


def _key_before(timeline: Timeline, pts: int) -> int | None:
    """Where decoding begins; None for the file's start."""
    place = bisect_right(timeline.keys, pts)
    return timeline.keys[place - 1] if place else None


def candidates(points: Sequence[Point]) -> tuple[Point, ...]:
    """Every rate factor between the measured ones: quality is linear in it, bit/s exponential."""
    found = []
    for height, of_height in groupby(sorted(points, key=lambda p: (-p.height, p.crf)), lambda p: p.height):
        crf, bits, quality = zip(*((p.crf, math.log(p.bits), p.quality) for p in of_height), strict=True)
        for one in range(crf[0], crf[-1] + 1):
            rate, seen = (float(np.interp(one, crf, values)) for values in (bits, quality))
            found.append(Point(height, one, math.exp(rate), seen))
    return tuple(found)


def chosen(points: Sequence[Point], mezzanine_crf: int, params: ByContent) -> tuple[Rung, ...]:
    """The rungs below the mezzanine: at falling rates the best that any height gives.

    A rung that brings too little over the one below is dropped, as is what falls below the floor.
    """
    offered = candidates(points)
    top = max(p.height for p in offered)
    above = min((p for p in offered if p.height == top), key=lambda p: abs(p.crf - mezzanine_crf))
    found = list(_falling(offered, above.bits, params))
    gains = [(one, one.quality - other.quality) for one, other in pairwise(found)]
    kept = [one for one, gain in gains if gain >= params.gain_db] + found[-1:]
    return tuple(Rung(height=p.height, crf=p.crf, bit_rate=_rounded(p.bits)) for p in kept[: params.most])


def _falling(offered: Sequence[Point], bits: float, params: ByContent) -> Iterator[Point]:
    good = [p for p in offered if p.quality >= params.floor_db]
    while affordable := [p for p in good if p.bits <= bits / params.ratio]:
        best = max(affordable, key=lambda p: (p.quality, -p.bits))
        yield best
        bits = best.bits


def _rounded(bits: float) -> int:
    """To two digits."""
    unit = 10 ** max(0, math.floor(math.log10(bits)) - 1)
    return round(bits / unit) * unit


def bits_at_equal_quality(ours: Sequence[Point], theirs: Sequence[Point]) -> float:
    """The bit/s of one ladder by those of another, the mean over the qualities that both reach (Bjontegaard delta)."""
    floor = max(min(p.quality for p in ladder) for ladder in (ours, theirs))
    ceiling = min(max(p.quality for p in ladder) for ladder in (ours, theirs))
    if ceiling <= floor:
        raise ValueError("the ladders have no quality in common")
    grid = np.linspace(floor, ceiling, 200)
    at = partial(_log_bits, grid=grid)
    return float(np.exp(np.mean(at(ours) - at(theirs))))


def _log_bits(ladder: Sequence[Point], grid: np.ndarray) -> np.ndarray:
    ordered = sorted(ladder, key=lambda p: p.quality)
    return np.interp(grid, [p.quality for p in ordered], [math.log(p.bits) for p in ordered])
