"""What models answer: small values that pickle and become JSON as they are. Times are in seconds."""

from __future__ import annotations

from typing import NamedTuple


class Label(NamedTuple):
    """An ImageNet-1k class of a picture and its probability, 0..1."""

    name: str
    probability: float


class Line(NamedTuple):
    """A line of text in a picture: its corners (x, y) in pixels, clockwise from the text's top left."""

    text: str
    confidence: float
    box: tuple[tuple[float, float], ...]


class Language(NamedTuple):
    """ISO 639 code (two letters where there is one) and probability, 0..1."""

    code: str
    probability: float


class Speech(NamedTuple):
    """A stretch in which somebody speaks."""

    start_s: float
    end_s: float


class Word(NamedTuple):
    """A spoken word with its punctuation."""

    start_s: float
    end_s: float
    text: str
    probability: float


class Segment(NamedTuple):
    """A stretch of a transcript; its probability is that of its tokens' geometric mean."""

    start_s: float
    end_s: float
    text: str
    probability: float
    words: tuple[Word, ...]


class Transcript(NamedTuple):
    """Everything said, in the order of time; language as ISO 639."""

    language: str
    language_probability: float
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The segments' text as one."""
        return " ".join(segment.text for segment in self.segments)
