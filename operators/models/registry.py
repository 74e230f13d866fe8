"""The one door to the models: `run(task, route, payload)`, in a warm process that keeps what it loaded."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, cast

from operators.models import sessions
from schemas.errors import AssetError
from schemas.routing import Route, Routing, Task

PROVIDERS = ("efficientnet", "language", "minilm", "ocr", "voice", "whisper")


class Provider(Protocol):
    """What a provider's module has. Importing it loads no weights; `load` keeps them for the process."""

    PACKAGES: tuple[str, ...]

    def files(self, task: Task) -> tuple[Path, ...]:
        """The files of the task's weights, in the order of their digest."""

    def load(self, threads: int) -> Any:
        """The model, ready to run on that many threads; the same one every time."""

    def run(self, route: Route, payload: Any, threads: int) -> Any:
        """The answer; its module says of what type payload and answer are."""


def _provider(name: str) -> Provider:
    if name not in PROVIDERS:
        raise AssetError("no_model", f"there is no provider {name}")
    return cast(Provider, import_module(f"operators.models.{name}"))


def available(route: Route) -> bool:
    """Whether the packages that the route's provider needs are installed (an extra's may not be)."""
    return all(find_spec(package) for package in _provider(route.provider).PACKAGES)


def missing(routing: Routing) -> list[Path]:
    """The files of weights that are not there, of all routes whose packages are installed."""
    usable = [route for route in routing.routes if available(route)]
    files = {path for route in usable for path in _provider(route.provider).files(route.task)}
    return sorted(path for path in files if not path.exists())


@lru_cache
def _ready(name: str, task: Task, model: str, digest: str, threads: int) -> Provider:
    provider = _provider(name)
    missing = [package for package in provider.PACKAGES if not find_spec(package)]
    if missing:
        raise AssetError("no_model", f"{model} needs {' and '.join(missing)}, which an extra installs")
    sessions.check(model, provider.files(task), digest)
    provider.load(threads)
    return provider


def load(route: Route, threads: int = 1) -> Provider:
    """Checks and loads the route's model, once a process: before a sandbox closes the file system.

    AssetError `no_model` where its packages are missing, `internal` where the weights are not the route's.
    """
    return _ready(route.provider, route.task, route.model, route.weights, threads)


def run(task: str, route: Route | dict[str, Any], payload: Any, threads: int = 1) -> Any:
    """The answer of the route's model.

    | task | payload | answer |
    |---|---|---|
    | image_embedding | pictures: uint8 RGB arrays (H, W, 3) | float32 (N, 1280), unit length |
    | image_text_bridge | pictures | float32 (N, 384), unit length, among the text encoder's vectors |
    | image_labels | pictures | for each a list of `Label` |
    | ocr | pictures | for each a list of `Line` |
    | text_embedding | texts | float32 (N, 384), unit length |
    | language | text | `Language`, or None where there are too few letters |
    | voice_activity | float32 (N,), mono, 16 kHz, -1..1 | list of `Speech` |
    | transcript | `whisper.Sound`: such samples, and their speech | `Transcript` |
    """
    chosen = route if isinstance(route, Route) else Route.model_validate(route)
    if chosen.task != task:
        raise AssetError("internal", f"a route of {chosen.task} was given for {task}")
    return load(chosen, threads).run(chosen, payload, threads)
