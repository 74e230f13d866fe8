"""The render plan: every output that one decode of a video feeds, decided before a picture is decoded."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from operators.media import h273
from operators.media.chunks import Range, Timeline, plan_chunks, read_timeline
from operators.media.filters import Filters, needs_neighbours, standard_filters, wide_filters
from operators.media.geometry import fitted, turned
from operators.media.ladder import Encode, Size, borders_of, cascade, encodes_of
from schemas.errors import AssetError
from schemas.pipelines import PreviewParams, VideoParams
from schemas.technical import Mastering, Technical, VideoTrack

# as many key frames, and no farther apart, are enough to choose a poster from
_KEYS_ENOUGH, _KEYS_APART_S = 8, 5
_EXACT_S = 0.001


@dataclass(frozen=True)
class Pick:
    """Pictures to keep: `times` (s from the asset's zero), the `pts` shown then, their (width, height)."""

    times: tuple[float, ...]
    pts: tuple[int, ...]
    size: tuple[int, int]
    every: float


@dataclass(frozen=True)
class Wide:
    """The second branch of pictures, of an HDR source: its colour as it is, and filters that turn it upright."""

    colour: h273.Colour
    filters: Filters
    mastering: Mastering | None = None


@dataclass(frozen=True)
class RenderPlan:
    """What a video's chunks are rendered to. `None` and an empty tuple stand for outputs not asked for.

    `filters` turn a decoded picture into an upright one of 8-bit 4:2:0 in `colour`; none where it is so.
    `sizes` are those of all encodes, asked for or not: each is scaled from the one before, the first is the
    filters' own. `base` and `small` are those that pictures are made from. Every encode has an IDR picture at
    the first picture from each of the `borders` (pts) on.
    `stills` and `poster` are candidates; `shots` asks for a strip of all pictures. `on_keys` are the outputs whose
    pictures are all key frames. Every encode has an IDR picture at `first_cut` (pts), where the first playable segment
    ends, if the video goes on after it.
    """

    time_base: Fraction
    origin: Fraction
    rate: Fraction
    colour: h273.Colour
    filters: Filters
    sizes: tuple[Size, ...]
    base: Size
    small: Size
    chunks: tuple[Range, ...]
    borders: tuple[int, ...]
    encodes: tuple[Encode, ...] = ()
    wide: Wide | None = None
    first_cut: int | None = None
    storyboard: Pick | None = None
    stills: Pick | None = None
    poster: tuple[int, ...] = ()
    shots: bool = False
    on_keys: frozenset[str] = frozenset()
    frames: int = 0
    duration: float = 0.0
    variable: bool = False

    def only(self, outputs: Collection[str]) -> RenderPlan:
        """The plan for these outputs alone: names of encodes, "storyboard", "stills", "poster", "shots"."""
        return replace(
            self,
            encodes=tuple(e for e in self.encodes if e.name in outputs),
            storyboard=self.storyboard if "storyboard" in outputs else None,
            stills=self.stills if "stills" in outputs else None,
            poster=self.poster if "poster" in outputs else (),
            shots="shots" in outputs,
        )

    def scaled_through(self, size: Size) -> list[Size]:
        """The sizes that a picture passes on its way to this one, which is the last."""
        return list(self.sizes[: self.sizes.index(size) + 1])

    @property
    def keeps_pictures(self) -> bool:
        """Whether pictures are kept beside what is encoded."""
        return bool(self.storyboard or self.stills or self.poster or self.shots)

    @property
    def keys_only(self) -> bool:
        """Whether key frames are all that has to be decoded; fields are made frames with the help of others."""
        asked = {"storyboard": self.storyboard, "stills": self.stills, "poster": self.poster}
        enough = self.on_keys >= {name for name, pick in asked.items() if pick}
        return enough and not (self.encodes or self.shots or needs_neighbours(self.filters))

    def seconds(self, pts: int) -> float:
        """Seconds from the asset's zero."""
        return float(pts * self.time_base - self.origin)


def plan_video(path: Path | str, technical: Technical, video: VideoParams, preview: PreviewParams) -> RenderPlan:
    """Plans all outputs of a probed video by reading its packets; nothing is decoded.

    Errors: no_media_stream, no_key_frame, truncated, corrupt_media.
    """
    if technical.video is None:
        raise AssetError("no_media_stream", "no video track")
    return plan_of(read_timeline(path), technical.video, video, preview)


def plan_of(timeline: Timeline, track: VideoTrack, video: VideoParams, preview: PreviewParams) -> RenderPlan:
    """The plan of a timeline; see `plan_video`."""
    encodes = encodes_of(track, video, timeline.rate)
    sizes = cascade(encodes)
    base, small = sorted((encodes[0].size, encodes[1].size), key=math.prod, reverse=True)
    chunks = plan_chunks(timeline.keys, timeline.end, timeline.time_base, video.chunk_s)
    tile = fitted((Fraction(small[0]), Fraction(small[1])), _tile_short(small, preview.storyboard_width))
    every = preview.storyboard_every_s, preview.storyboard_most
    candidate = preview.candidate_every_s, preview.candidate_most
    board, posters = _on_keys(timeline, _pick(timeline, *every, tile)), _poster_keys(timeline, *candidate)
    colour = h273.delivered(track.primaries, track.transfer, track.matrix, track.height)
    return RenderPlan(
        time_base=timeline.time_base,
        origin=timeline.origin,
        rate=timeline.rate,
        colour=colour,
        filters=standard_filters(track, turned(sizes[0], track.rotation), colour),
        sizes=sizes,
        base=base,
        small=small,
        chunks=chunks,
        borders=borders_of(timeline, chunks, video.segment_s),
        encodes=encodes,
        wide=_wide(track, encodes[-1]),
        first_cut=timeline.first_cut,
        storyboard=board or _pick(timeline, *every, tile),
        stills=(stills := _pick(timeline, *candidate, (preview.still_size, preview.still_size))),
        poster=posters or stills.pts,
        shots=True,
        on_keys=frozenset(name for name, found in (("storyboard", board), ("poster", posters)) if found),
        frames=len(timeline.pictures),
        duration=timeline.duration,
        variable=timeline.variable,
    )


def _tile_short(small: tuple[int, int], width: int) -> int:
    """The shorter side of a tile whose width is at most `width`."""
    return max(2, round(min(small) * width / small[0]))


def _wide(track: VideoTrack, encode: Encode) -> Wide | None:
    """The branch of the HDR rendition, which is the last encode."""
    if not encode.hdr:
        return None
    filters = wide_filters(track, turned(encode.size, track.rotation))
    return Wide(h273.coded(track.primaries, track.transfer), filters, track.mastering)


def _pick(timeline: Timeline, every: float, most: int, size: tuple[int, int]) -> Pick:
    """One picture each `every` seconds, or less often where that were more than `most`."""
    step = max(every, timeline.duration / most)
    count = min(most, max(1, math.ceil(timeline.duration / step - 1e-6)))
    times = tuple(round(i * step, 6) for i in range(count))
    return Pick(times, tuple(timeline.shown_at(t) for t in times), size, step)


def _on_keys(timeline: Timeline, pick: Pick) -> Pick | None:
    """The pick with a key frame's picture and time in each stretch, None where a stretch has no key frame."""
    times = [timeline.seconds(key) for key in timeline.keys]
    places = [bisect_left(times, start - _EXACT_S) for start in pick.times]
    ends = (*pick.times[1:], math.inf)
    if any(place == len(times) or times[place] >= end - _EXACT_S for place, end in zip(places, ends, strict=True)):
        return None
    shown = tuple(round(max(0.0, times[place]), 6) for place in places)
    return replace(pick, times=shown, pts=tuple(timeline.keys[place] for place in places))


def _poster_keys(timeline: Timeline, every: float, most: int) -> tuple[int, ...]:
    """Key frames to choose a poster from, `every` seconds apart; none where they are too few to choose from."""
    step, kept = max(every, timeline.duration / most), list[int]()
    for key in timeline.keys:
        if not kept or (key - kept[-1]) * timeline.time_base >= step - _EXACT_S:
            kept.append(key)
    borders = [*kept, timeline.end]
    gaps = [(b - a) * timeline.time_base for a, b in pairwise(borders)]
    return tuple(kept) if len(kept) >= _KEYS_ENOUGH and max(gaps) <= _KEYS_APART_S else ()
