"""Chapters: read from a container (MP4, Matroska, ID3v2, Vorbis comments), and written as WebVTT."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from av.container import InputContainer

from operators.media.source import origin_of
from schemas.technical import Chapter

_MOST, _LONGEST_TITLE = 2000, 500


def chapters_of(container: InputContainer) -> tuple[Chapter, ...]:
    """The container's chapters in order of time, in s from the asset's zero; the first 2,000.

    ID3v2's count from the first sample that is heard, after the encoder's delay.
    """
    origin = Fraction(0) if container.format.name == "mp3" else origin_of(container)
    found = [_chapter(raw, origin) for raw in container.chapters()[:_MOST]]
    return tuple(sorted(found, key=lambda chapter: chapter.start))


def _chapter(raw: Any, origin: Fraction) -> Chapter:
    start, end = (max(0.0, float(raw[name] * raw["time_base"] - origin)) for name in ("start", "end"))
    title = " ".join(raw["metadata"].get("title", "").split())[:_LONGEST_TITLE]
    return Chapter(start=round(start, 3), end=round(max(start, end), 3), title=title)


def chapters_webvtt(chapters: Sequence[Chapter]) -> str:
    """WebVTT (W3C) for a track of kind `chapters`: one cue each, ending where the next begins."""
    ends = [min(one.end, following.start) if one.end > one.start else following.start
            for one, following in pairwise(chapters)]  # fmt: skip
    cues = [
        f"{number}\n{_clock(chapter.start)} --> {_clock(end)}\n{_text(chapter.title) or f'Chapter {number}'}\n"
        for number, (chapter, end) in enumerate(zip(chapters, [*ends, *(c.end for c in chapters[-1:])], strict=True), 1)
        if end > chapter.start
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _text(title: str) -> str:
    return title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"
