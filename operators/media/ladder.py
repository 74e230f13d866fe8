"""Which renditions a video is encoded to, and at which pictures all of them can be cut."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from operators.media.chunks import Range, Timeline
from operators.media.geometry import fitted, square, turned
from schemas.pipelines import Codec, Rung, VideoEncode, VideoParams
from schemas.technical import VideoTrack

Size = tuple[int, int]
# x265 and SVT-AV1 take no smaller pictures
_SHORTEST = 16
PRESETS: dict[Codec, str] = {"h264": "veryfast", "hevc": "veryfast", "av1": "8"}


@dataclass(frozen=True)
class Encode:
    """One encoded output: upright size in pixels, constant rate factor, pictures between key frames.

    `hdr` keeps the source's colour volume, all others are delivered in the plan's. `bit_rate` is a trial's forecast
    (bit/s), 0 where there was none.
    """

    name: str
    width: int
    height: int
    crf: int
    gop: int
    preset: str
    codec: Codec = "h264"
    bit_depth: int = 8
    hdr: bool = False
    bit_rate: int = 0

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return self.width, self.height


def encodes_of(track: VideoTrack, video: VideoParams, rate: Fraction) -> tuple[Encode, ...]:
    """Mezzanine and preview, the rungs from the largest to the smallest, then the HDR rendition of an HDR source.

    A rung is left out where an encode of its codec and depth has its size: of a source smaller than the rung that
    is the mezzanine.
    """
    mezzanine = _encode("mezzanine", video.mezzanine, track, rate)
    preview = _encode("preview", video.preview, track, rate)
    found = {_kind(mezzanine): mezzanine, _kind(preview): preview}
    rungs = [_rung(rung, track, rate) for rung in video.ladder]
    for rung in sorted(filter(_is_possible, rungs), key=lambda one: (-math.prod(one.size), -one.bit_rate)):
        found.setdefault(_kind(rung), rung)
    main = (mezzanine, preview, *(e for e in found.values() if e is not mezzanine and e is not preview))
    hdr = _rung(video.hdr_encode, track, rate, "hdr")
    return (*main, hdr) if video.hdr and track.hdr != "none" and _is_possible(hdr) else main


def _is_possible(encode: Encode) -> bool:
    return encode.codec == "h264" or min(encode.size) >= _SHORTEST


def _kind(encode: Encode) -> tuple[Codec, int, Size, int]:
    return encode.codec, encode.bit_depth, encode.size, encode.bit_rate


def _encode(name: str, params: VideoEncode, track: VideoTrack, rate: Fraction) -> Encode:
    width, height = _size(track, params.height)
    return Encode(name, width, height, params.crf, _gop(rate, params.gop_s), params.preset)


def _rung(rung: Rung, track: VideoTrack, rate: Fraction, name: str = "") -> Encode:
    width, height = _size(track, rung.height)
    named, preset = name or _name(rung, min(width, height)), rung.preset or PRESETS[rung.codec]
    rest = rung.codec, rung.bit_depth, name == "hdr", rung.bit_rate
    return Encode(named, width, height, rung.crf, _gop(rate, rung.gop_s), preset, *rest)


def _name(rung: Rung, height: int) -> str:
    depth = "" if rung.bit_depth == 8 else f"-{rung.bit_depth}bit"
    rate = f"-{round(rung.bit_rate / 1000)}k" if rung.bit_rate else ""
    return f"{'h' if rung.codec == 'h264' else rung.codec}{height}{depth}{rate}"


def _gop(rate: Fraction, seconds: float) -> int:
    return max(1, round(rate * Fraction(seconds)))


def _size(track: VideoTrack, short: int) -> Size:
    return turned(fitted(square(track.width, track.height, Fraction(track.pixel_aspect)), short), track.rotation)


def cascade(encodes: Sequence[Encode]) -> tuple[Size, ...]:
    """The sizes of the pictures that are not HDR, from the largest: each is scaled from the one before it."""
    return tuple(sorted({e.size for e in encodes if not e.hdr}, key=lambda size: (-math.prod(size), size)))


def borders_of(timeline: Timeline, chunks: Sequence[Range], seconds: float) -> tuple[int, ...]:
    """pts of the pictures where a segment begins: every chunk's first, and between them about each `seconds`.

    A key frame of the source within half a segment is preferred, since a copy of the source can be cut there too.
    No segment is shorter than half of `seconds`, if its chunk is not.
    """
    span = max(1, round(Fraction(seconds) / timeline.time_base))
    found: list[int] = []
    for start, stop in chunks:
        found.extend(_borders(timeline, start, timeline.end if stop is None else stop, span))
    return tuple(found)


def _borders(timeline: Timeline, start: int | None, stop: int, span: int) -> Iterator[int]:
    at: int | None = timeline.first if start is None else start
    while at is not None:
        yield at
        at = _next(timeline, at, stop, span)


def _next(timeline: Timeline, at: int, stop: int, span: int) -> int | None:
    """The segment's end, None for the chunk's."""
    last = stop - span // 2
    keys = timeline.keys[bisect_left(timeline.keys, at + span // 2) : bisect_left(timeline.keys, at + span * 3 // 2)]
    near = [key for key in keys if at < key <= last]
    if near:
        return min(near, key=lambda key: (abs(key - at - span), key))
    place = bisect_left(timeline.pictures, at + span)
    found = timeline.pictures[place] if place < len(timeline.pictures) else stop
    return found if found <= last else None
