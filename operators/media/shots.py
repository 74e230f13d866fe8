"""Shots: where one picture follows another that has nothing to do with it; found on tiny pictures of all frames.

A chunk leaves a strip of its frames, and the detector reads the strips of all chunks in order, so that a cut
on a chunk's border is found like any other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from operators.media.appeal import Candidate

STRIP_SIZE = (32, 18)
STRIP = np.dtype([("pts", "<i8"), ("bgr", "u1", (STRIP_SIZE[1], STRIP_SIZE[0], 3))])
_SHORTEST_S = 0.4


@dataclass(frozen=True)
class Shot:
    """From the first picture's time to the next shot's, in s from the asset's zero."""

    start: float
    end: float


def find_shots(strips: Sequence[Path], rate: float, seconds_of: float, origin: float, end: float) -> tuple[Shot, ...]:
    """The shots of a video; `strips` hold `STRIP` records, one a picture; `rate` in pictures a second.

    A picture's time is pts * `seconds_of` - `origin`; the last shot ends at `end`. PySceneDetect's adaptive
    detector decides: a cut stands out of the change of its neighbours, so that fast movement is none.
    """
    from scenedetect import FrameTimecode  # it costs half a second, so only who asks for shots pays
    from scenedetect.detectors import AdaptiveDetector

    detector, times = AdaptiveDetector(min_scene_len=max(1, round(_SHORTEST_S * rate))), list[float]()
    borders: list[int] = []
    for records in (np.fromfile(strip, STRIP) for strip in strips):
        for record in records:
            place = len(times)
            times.append(float(record["pts"]) * seconds_of - origin)
            found = detector.process_frame(FrameTimecode(place, rate), np.ascontiguousarray(record["bgr"]))
            borders += [cut.frame_num for cut in found]
    if not times:
        return ()
    starts = [min(0.0, times[0]) if times[0] < 0 else times[0], *(times[place] for place in borders)]
    ends = [*starts[1:], max(end, starts[-1])]
    return tuple(Shot(round(a, 3), round(b, 3)) for a, b in zip(starts, ends, strict=True))


@dataclass(frozen=True)
class Still:
    """A picture kept for search: its time in ms, and the stretch (s) that it stands for."""

    ms: int
    start: float
    end: float


def choose_stills(shots: Iterable[Shot], candidates: Sequence[Candidate], every: float, most: int) -> tuple[Still, ...]:
    """The best candidate of each shot, of one longer than `every` seconds the best of each such part.

    A shot too short to have a candidate has none. Of more than `most` stretches every so many are left out.
    """
    parts = [part for shot in shots for part in _parts(shot, every)]
    ordered = sorted(candidates, key=lambda candidate: candidate.time)
    stills = [still for part in parts if (still := _best(part, ordered))]
    step = max(1.0, len(stills) / most)
    return tuple(stills[int(place * step)] for place in range(min(most, len(stills))))


def _parts(shot: Shot, every: float) -> list[Shot]:
    count = max(1, round((shot.end - shot.start) / every))
    length = (shot.end - shot.start) / count
    borders = [*(round(shot.start + i * length, 3) for i in range(count)), shot.end]
    return [Shot(a, b) for a, b in itertools.pairwise(borders)]


def _best(part: Shot, candidates: Sequence[Candidate]) -> Still | None:
    within = [candidate for candidate in candidates if part.start <= candidate.time < part.end]
    best = max(within, key=lambda candidate: candidate.score, default=None)
    return Still(round(best.time * 1000), part.start, part.end) if best else None
