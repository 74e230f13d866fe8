"""WebVTT captions (W3C WebVTT) of a transcript's words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from operators.models.results import Segment, Word

WIDTH, LINES = 42, 2
PAUSE_S, LONGEST_S, SHORTEST_S = 1.0, 7.0, 0.1


def _words(segment: Segment) -> Iterator[Word]:
    """The segment's words; where it has no times for them, they share its time by their length."""
    if segment.words:
        yield from segment.words
        return
    start, signs = segment.start_s, max(1, len(segment.text))
    for text in segment.text.split():
        end = min(segment.end_s, start + (len(text) + 1) / signs * (segment.end_s - segment.start_s))
        yield Word(start, end, text, segment.probability)
        start = end


def _lines(cue: Sequence[Word]) -> list[str]:
    return wrap(" ".join(word.text for word in cue), WIDTH)


def _ends(cue: Sequence[Word], word: Word) -> bool:
    """Whether the word belongs in the next cue: a sentence or a pause lies between, or it does not fit."""
    return (
        cue[-1].text.endswith((".", "?", "!"))
        or (cue[-1].text.endswith(",") and len(_lines(cue)) == LINES)
        or word.start_s - cue[-1].end_s > PAUSE_S
        or word.end_s - cue[0].start_s > LONGEST_S
        or len(_lines([*cue, word])) > LINES
    )


def _cues(words: Iterator[Word]) -> Iterator[list[Word]]:
    cue: list[Word] = []
    for word in words:
        if cue and _ends(cue, word):
            yield cue
            cue = []
        cue.append(word)
    if cue:
        yield cue


def _time(seconds: float) -> str:
    minutes, millis = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{millis // 1000:02d}.{millis % 1000:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def webvtt(segments: Sequence[Segment]) -> str:
    """A WebVTT file: cues of at most two lines of 42 characters and of at most 7 s (a longer word apart)."""
    blocks = ["WEBVTT\n"]
    for cue in _cues(word for segment in segments for word in _words(segment)):
        start = cue[0].start_s
        end = max(cue[-1].end_s, start + SHORTEST_S)
        text = _escaped("\n".join(_lines(cue)[:LINES]))
        blocks.append(f"{_time(start)} --> {_time(end)}\n{text}\n")
    return "\n".join(blocks)
