"""A ladder chosen by content against a fixed one: bits at equal quality, on stretches that the trial did not see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from bench import sources
from bench.measure import Row
from operators.media.probe import quick_probe
from operators.media.trial import (
    Point,
    Stretch,
    bits_at_equal_quality,
    candidates,
    chosen,
    measured,
    stretches_of,
    trial,
)
from schemas.pipelines import ByContent, Limits, VideoParams

# Apple's HLS Authoring Specification, H.264, 16:9: height and mean bit/s
FIXED = (
    (234, 145_000), (360, 365_000), (432, 730_000), (432, 1_100_000), (540, 2_000_000), (720, 3_000_000),
    (720, 4_500_000), (1080, 6_000_000), (1080, 7_800_000),
)  # fmt: skip
_SEEN_BY_NONE = (Fraction(1, 3), Fraction(4, 5))


def compared() -> tuple[list[Row], dict[str, str]]:
    """The row, and both ladders as notes. The film has 480 lines: the fixed ladder's larger rungs fall away."""
    technical = quick_probe(sources.FILM, "video", Limits())
    video = VideoParams(by_content=ByContent())
    assert video.by_content is not None
    rungs = chosen(trial(sources.FILM, technical, video), video.mezzanine.crf, video.by_content)
    stretches = list(stretches_of(sources.FILM, technical, video, _SEEN_BY_NONE))
    top = min(stretches[0].pictures[0].width, stretches[0].pictures[0].height)
    ours = [_encoded(stretches, top, video.mezzanine.crf), *(_encoded(stretches, r.height, r.crf) for r in rungs)]
    theirs = _fixed(stretches, top)
    row = Row("bits of a ladder by content, of a fixed one at equal quality", bits_at_equal_quality(ours, theirs), 0.8)
    return [row], {"ladder by content": _told(ours), "fixed ladder": _told(theirs)}


def _encoded(stretches: Sequence[Stretch], height: int, crf: int) -> Point:
    points = [one.point(height, crf) for one in stretches]
    mean = (sum(getattr(p, field) for p in points) / len(points) for field in ("bits", "quality"))
    return Point(points[0].height, crf, *mean)


def _fixed(stretches: Sequence[Stretch], top: int) -> list[Point]:
    """Each rung that the film has the height for, at the rate factor that comes nearest to its rate."""
    asked = [(height, rate) for height, rate in FIXED if height <= top]
    offered = candidates(measured(stretches, sorted({height for height, _ in asked}, reverse=True)))
    found = []
    for height, rate in asked:
        of_height = [p for p in offered if p.height == height]
        best = min(of_height, key=lambda p: abs(math.log(p.bits / rate)))
        found.append(_encoded(stretches, height, best.crf))
    return found


def _told(ladder: Sequence[Point]) -> str:
    return "; ".join(f"{p.height} lines, {p.bits / 1000:.0f} kbit/s, XPSNR {p.quality:.1f} dB" for p in ladder)
