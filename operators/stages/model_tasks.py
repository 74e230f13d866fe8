"""What model processes run: decode what the pipeline itself made, then ask the route's model."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from PIL import Image

from operators.models import registry
from operators.models.results import Speech, Transcript
from operators.models.whisper import Sound
from schemas.routing import Route, Task

OCR_LONGEST_SIDE = 1600
FLATTEST = 4.0


class Pictures(Sequence[np.ndarray]):
    """Coded pictures, decoded as they are asked for: hundreds of stills would lie in memory at once."""

    def __init__(self, coded: Sequence[bytes]) -> None:
        self._coded = coded

    def __len__(self) -> int:
        return len(self._coded)

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, place: slice) -> list[np.ndarray]: ...

    def __getitem__(self, place: int | slice) -> np.ndarray | list[np.ndarray]:
        found = self._coded[place]
        return _array(found) if isinstance(found, bytes) else [_array(one) for one in found]


def opened(data: bytes, media_type: str) -> tuple[list[int], Pictures]:
    """Times (ms) and pictures (uint8 RGB, (H, W, 3)) of a zip of stills named by their time, or of one picture.

    Stills that show next to nothing (black, a fade) are left out: a model sees things in them all the same.
    """
    if media_type != "application/zip":
        return [0], Pictures([data])
    with zipfile.ZipFile(io.BytesIO(data)) as stills:
        coded = {int(re.sub(r"\D", "", name)): stills.read(name) for name in sorted(stills.namelist())}
    shown = {time: picture for time, picture in coded.items() if _array(picture).std() > FLATTEST}
    return list(shown), Pictures(list(shown.values()))


def _array(data: bytes, longest: int | None = None) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        if longest:
            image.thumbnail((longest, longest))
        return np.asarray(image.convert("RGB"))


def on_stills(task: Task, route: Route, data: bytes, media_type: str) -> tuple[list[int], Any]:
    """The stills' times in ms, and the model's answer on their pictures."""
    times, pictures = opened(data, media_type)
    return times, registry.run(task, route, pictures) if times else []


def on_pages(route: Route, pages: Sequence[bytes]) -> list[Any]:
    """The lines of text of each picture."""
    answers: list[Any] = registry.run(Task.OCR, route, [_array(page, OCR_LONGEST_SIDE) for page in pages])
    return answers


def on_sound(route: Route, samples: np.ndarray) -> list[Speech]:
    """The stretches of speech in 16-bit mono samples."""
    found: list[Speech] = registry.run(Task.VOICE_ACTIVITY, route, _floats(samples))
    return found


def on_speech(route: Route, samples: np.ndarray, speech: Sequence[Speech]) -> Transcript:
    """What is said in the stretches of speech in 16-bit mono samples."""
    said: Transcript = registry.run(Task.TRANSCRIPT, route, Sound(_floats(samples), speech))
    return said


def _floats(samples: np.ndarray) -> np.ndarray:
    """float32, -1..1, of 16-bit samples."""
    return samples.astype(np.float32) / 32768


def on_text(task: Task, route: Route, payload: Any) -> Any:
    """The answer on text."""
    return registry.run(task, route, payload)
