"""The one door to the models, as the pool uses it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from models_fixtures import ask, picture, route

from operators.models import registry
from operators.models.whisper import Sound
from schemas.errors import AssetError
from schemas.routing import Task


def test_a_route_may_come_as_plain_data_and_the_answer_pickles() -> None:
    """What crosses to the warm process and back is plain: a dump of the route in, values out."""
    plain = route(Task.IMAGE_LABELS).model_dump(mode="json")
    answer = pickle.loads(pickle.dumps(registry.run))("image_labels", plain, [picture("coffee.png")])
    assert pickle.loads(pickle.dumps(answer)) == answer
    assert answer[0][0].name == "espresso"


def test_other_weights_than_the_routes_are_refused() -> None:
    """A model is not run under a digest that is not its own."""
    other = route(Task.LANGUAGE).model_copy(update={"weights": "0" * 64})
    with pytest.raises(AssetError, match="the route names 000000000000") as caught:
        registry.run(Task.LANGUAGE, other, "text")
    assert caught.value.code == "internal"


def test_a_route_answers_only_its_own_task() -> None:
    """A task is never run with another task's model."""
    with pytest.raises(AssetError, match="was given for"):
        registry.run("ocr", route(Task.LANGUAGE), "text")


def test_an_unknown_provider_is_no_model() -> None:
    """A route cannot name any module it likes."""
    with pytest.raises(AssetError) as caught:
        registry.run(Task.LANGUAGE, route(Task.LANGUAGE).model_copy(update={"provider": "os"}), "text")
    assert caught.value.code == "no_model"


def test_without_the_extra_the_transcript_says_that_it_has_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where faster-whisper is not installed the route is not available, and running it is `no_model`."""
    real = registry.find_spec

    def without(name: str) -> ModuleSpec | None:
        return None if name == "faster_whisper" else real(name)

    monkeypatch.setattr(registry, "find_spec", without)
    registry._ready.cache_clear()
    assert not registry.available(route(Task.TRANSCRIPT))
    with pytest.raises(AssetError, match="faster_whisper") as caught:
        ask(Task.TRANSCRIPT, Sound(np.zeros(16_000, np.float32), []))
    assert caught.value.code == "no_model"


SCRIPT = """
import builtins, socket
real = builtins.open

def reading(file, mode="r", *args, **kwargs):
    assert not set(mode) & set("wax+"), f"{file} is opened for writing"
    return real(file, mode, *args, **kwargs)

def closed(*args, **kwargs):
    raise AssertionError("a connection is made")

builtins.open, socket.socket.connect, socket.getaddrinfo = reading, closed, closed
from models_fixtures import Task, ask, picture, registry, route, speech
from operators.models.whisper import Sound
small = [picture("coffee.png")[:96, :96]]
for task in (Task.IMAGE_EMBEDDING, Task.IMAGE_LABELS, Task.IMAGE_TEXT_BRIDGE, Task.OCR):
    ask(task, small)
ask(Task.TEXT_EMBEDDING, ["a cat"])
ask(Task.LANGUAGE, "a text with letters enough in it")
found = ask(Task.VOICE_ACTIVITY, speech()[:32_000])
if registry.available(route(Task.TRANSCRIPT)):
    ask(Task.TRANSCRIPT, Sound(speech()[:32_000], found))
"""


def test_no_model_reaches_for_the_network_or_writes(tmp_path: Path) -> None:
    """Loading and running every model opens no connection and leaves no file in home or scratch.

    onnxruntime 1.29 and later keep a telemetry database in the user's home, and send it.
    """
    folders = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=Path(__file__).parent, env=kept | folders, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_no_pictures_give_no_answers() -> None:
    """An empty batch is answered with an empty one of the right shape."""
    assert ask(Task.IMAGE_EMBEDDING, []).shape == (0, 1280)
    assert ask(Task.IMAGE_LABELS, []) == []
    assert ask(Task.TEXT_EMBEDDING, []).shape == (0, 384)
