"""The samples, decoded for the models."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from operators.models import registry
from schemas.routing import PROFILES, Route, Task

SAMPLES = Path(__file__).parent.parent / "samples"
PICTURES = ("astronaut.jpg", "chelsea.png", "coffee.png", "rocket.jpg")


def route(task: Task) -> Route:
    """The lite profile's route of a task."""
    found = PROFILES["lite"].lookup(task)
    assert found is not None
    return found


def ask(task: Task, payload: Any) -> Any:
    """The answer of the lite profile's model."""
    return registry.run(task, route(task), payload)


@cache
def picture(name: str) -> np.ndarray:
    """A sample picture, uint8 RGB."""
    return np.asarray(Image.open(SAMPLES / name).convert("RGB"))


@cache
def stills() -> tuple[np.ndarray, ...]:
    """A picture of every third second of the sample video, uint8 RGB."""
    found: list[np.ndarray] = []
    with av.open(SAMPLES / "big-buck-bunny.mp4") as container:
        for frame in container.decode(video=0):
            if frame.time >= 3 * len(found):
                found.append(frame.to_ndarray(format="rgb24"))
    return tuple(found)


@cache
def speech() -> np.ndarray:
    """The sample speech: float32 mono, 16 kHz."""
    resampler = av.AudioResampler("flt", "mono", 16_000)
    with av.open(SAMPLES / "jfk.flac") as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in [*frames, *resampler.resample(None)]])
