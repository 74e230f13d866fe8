"""Reads the small text formats among the variants. They come of untrusted media: odd parts are left out."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

import numpy as np

_CUE = re.compile(r"^((?:\d+:)?\d\d:\d\d\.\d{3})[ \t]+-->[ \t]+((?:\d+:)?\d\d:\d\d\.\d{3})")
_TILE = re.compile(r"#xywh=(?:pixel:)?(\d+),(\d+),(\d+),(\d+)")
PEAKS = 1200


class Cue(NamedTuple):
    """A WebVTT cue; times in seconds, `text` with its markup."""

    start: float
    end: float
    text: str


class Word(NamedTuple):
    """A spoken word; times in seconds, `probability` 0..1 or -1 where unknown."""

    start: float
    end: float
    text: str
    probability: float


class Segment(NamedTuple):
    """A stretch of speech; `words` may be empty."""

    start: float
    end: float
    text: str
    words: tuple[Word, ...]


class Moment(NamedTuple):
    """A stretch of video with its best labels first, (name, score 0..1)."""

    start: float
    end: float
    labels: tuple[tuple[str, float], ...]


def seconds(stamp: str) -> float:
    """Seconds of a WebVTT timestamp, "[hh:]mm:ss.ttt"."""
    total = 0.0
    for part in stamp.split(":"):
        total = total * 60 + float(part)
    return round(total, 3)


def number(value: Any, default: float = 0.0) -> float:
    """The value as a finite float, else the default."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else default


def cues(vtt: str) -> list[Cue]:
    """The cues of a WebVTT file, in order; settings, notes and styles are left out."""
    found = []
    for block in re.split(r"\n[ \t]*\n", vtt.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.strip("\n").split("\n")
        for at, line in enumerate(lines[:2]):
            if match := _CUE.match(line.strip()):
                found.append(Cue(seconds(match[1]), seconds(match[2]), "\n".join(lines[at + 1 :])))
                break
    return found


def tiles(vtt: str) -> list[list[float]]:
    """A storyboard map's tiles, each [start s, end s, x, y, width, height] with pixels in the sprite."""
    found = []
    for cue in cues(vtt):
        if match := _TILE.search(cue.text):
            x, y, width, height = map(int, match.groups())
            if width and height:
                found.append([cue.start, cue.end, x, y, width, height])
    return found


def _list(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list | tuple) else []


def transcript(data: bytes) -> list[Segment]:
    """The segments of a transcript's JSON, in order. Raises ValueError where it is no JSON object."""
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("a transcript is a JSON object")
    return [_segment(s) for s in _list(document.get("segments"))]


def _segment(raw: dict[str, Any]) -> Segment:
    words = tuple(
        Word(
            number(w.get("start")), number(w.get("end")),
            str(w.get("word", "")).strip(), number(w.get("probability"), -1.0),
        )
        for w in _list(raw.get("words"))
    )  # fmt: skip
    return Segment(number(raw.get("start")), number(raw.get("end")), str(raw.get("text", "")).strip(), words)


def peaks(data: bytes, most: int = PEAKS) -> tuple[list[int], float]:
    """An audiowaveform JSON (version 2) as [low, high, …] in -127..127, `most` pairs or fewer, and seconds.

    Channels are joined by their extremes. Raises ValueError where the JSON is none of that.
    """
    document = json.loads(data)
    try:
        channels = max(1, int(document.get("channels", 1)))
        pairs = np.asarray(document["data"], dtype=np.float64)
        pairs = pairs[: pairs.size // (2 * channels) * 2 * channels].reshape(-1, channels, 2)
        duration = len(pairs) * document["samples_per_pixel"] / document["sample_rate"]
        full = float(2 ** (document.get("bits", 8) - 1))
    except (AttributeError, KeyError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise ValueError(f"not an audiowaveform JSON: {error}") from error
    if not len(pairs):
        return [], 0.0
    starts = np.unique(np.linspace(0, len(pairs), min(most, len(pairs)), endpoint=False).astype(int))
    low = np.minimum.reduceat(pairs[:, :, 0].min(axis=1), starts)
    high = np.maximum.reduceat(pairs[:, :, 1].max(axis=1), starts)
    scaled = np.clip(np.nan_to_num(np.stack([low, high], axis=1) / full * 127), -127, 127).round()
    return scaled.astype(int).ravel().tolist(), duration


def lifted(values: list[int]) -> list[int]:
    """Peaks raised to the full height, by 18 dB at most: quiet sound has a shape, silence stays flat."""
    gain = min(8.0, 127 / max([1, *map(abs, values)]))
    return [round(v * gain) for v in values]


def labels(raw: Any, most: int = 8) -> tuple[tuple[str, float], ...]:
    """Labels (name, score 0..1), best first."""
    pairs = [(str(entry.get("name", "")), number(entry.get("score"))) for entry in _list(raw)]
    return tuple(sorted(pairs, key=lambda pair: -pair[1])[:most])


def moments(raw: Any) -> list[Moment]:
    """Moments in order of time; neighbours with the same best label become one, with the first's scores."""
    found: list[Moment] = []
    for entry in sorted(_list(raw), key=lambda e: number(e.get("start_s"))):
        best = labels(entry.get("labels"), 2)
        end = number(entry.get("end_s"))
        if found and best and found[-1].labels[0][0] == best[0][0]:
            found[-1] = found[-1]._replace(end=end)
        elif best:
            found.append(Moment(number(entry.get("start_s")), end, best))
    return found
