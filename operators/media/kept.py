"""Pictures that are kept of a chunk: storyboard tiles, stills, the best for a poster, and the strip that shots need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from operators.media.appeal import Candidate, score
from operators.media.plan import RenderPlan
from operators.media.shots import STRIP_SIZE
from operators.media.sizes import Sizes

_JPEG = {"format": "JPEG", "quality": 90}
_POSTER = {"format": "JPEG", "quality": 85, "progressive": True}
_TILE = {"format": "PNG", "compress_level": 1}


@dataclass(frozen=True)
class Kept:
    """Names of files in the chunk's folder, and what is known of them.

    `tiles` by their place in the storyboard; `stills` by their time in ms, each with its candidate in `candidates`;
    `poster` is the best picture of those that were looked at, with its candidate; `strip` holds `shots.STRIP` records.
    """

    tiles: tuple[tuple[int, str], ...] = ()
    stills: tuple[tuple[int, str], ...] = ()
    candidates: tuple[Candidate, ...] = ()
    poster: tuple[str, Candidate] | None = None
    strip: str = ""


class Keeper:
    """Takes a chunk's pictures by their pts, after `Sizes` was started with each; holds one of them in memory."""

    def __init__(self, folder: Path, label: str, plan: RenderPlan, sizes: Sizes) -> None:
        self._folder, self._label, self._plan, self._sizes = folder, label, plan, sizes
        self._wanted = _wanted(plan)
        self._tiles, self._stills = list[tuple[int, str]](), list[tuple[int, str]]()
        self._candidates = list[Candidate]()
        self._best: tuple[Any, Candidate] | None = None
        self._strip = (folder / f"strip-{label}.raw").open("wb") if plan.shots else None

    def take(self, pts: int) -> None:
        """Keeps what is wanted of the picture."""
        if self._strip:
            tiny = self._sizes.rgb(STRIP_SIZE, self._plan.small, "bgr24").to_ndarray()
            self._strip.write(np.int64(pts).tobytes() + tiny.tobytes())
        for kind, place in self._wanted.get(pts, ()):
            self._kinds[kind](place, pts)

    @property
    def _kinds(self) -> dict[str, Callable[[int, int], None]]:
        return {"tile": self._tile, "still": self._still, "poster": self._poster}

    def _save(self, frame: Any, name: str, options: dict[str, Any]) -> str:
        frame.to_image().save(self._folder / name, **options)
        return name

    def _tile(self, place: int, _pts: int) -> None:
        assert self._plan.storyboard is not None
        tile = self._sizes.rgb(self._plan.storyboard.size, self._plan.small)
        self._tiles.append((place, self._save(tile, f"tile-{place:05d}.png", _TILE)))

    def _still(self, place: int, _pts: int) -> None:
        pick = self._plan.stills
        assert pick is not None
        ms = round(pick.times[place] * 1000)
        still = self._sizes.rgb(pick.size, self._plan.small)
        self._stills.append((ms, self._save(still, f"still-{ms:010d}.jpg", _JPEG)))
        self._candidates.append(score(self._sizes.at(self._plan.small), pick.times[place]))

    def _poster(self, _place: int, pts: int) -> None:
        found = score(self._sizes.at(self._plan.small), self._plan.seconds(pts))
        if self._best is None or found.score > self._best[1].score:
            self._best = self._sizes.at(self._plan.base), found

    def close(self) -> Kept:
        """Ends the strip and writes the best picture."""
        if self._strip:
            self._strip.close()
        poster = None
        if self._best:
            frame, candidate = self._best
            name = self._save(self._sizes.coloured(frame, self._plan.base), f"poster-{self._label}.jpg", _POSTER)
            poster = name, candidate
        strip = f"strip-{self._label}.raw" if self._strip else ""
        return Kept(tuple(self._tiles), tuple(self._stills), tuple(self._candidates), poster, strip)


def _wanted(plan: RenderPlan) -> dict[int, list[tuple[str, int]]]:
    """What each picture is also kept as: pts -> (kind, place)."""
    wanted: dict[int, list[tuple[str, int]]] = {}
    picks = (
        ("tile", plan.storyboard.pts if plan.storyboard else ()),
        ("still", plan.stills.pts if plan.stills else ()),
        ("poster", plan.poster),
    )
    for kind, all_pts in picks:
        for place, pts in enumerate(all_pts):
            wanted.setdefault(pts, []).append((kind, place))
    return wanted
