"""What a process needs to be ready, a check each: it raises RuntimeError, or what a client raises, where it is not."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from dataflows.connections import table_options, table_uri
from dataflows.health import ANSWER_S
from dataflows.runtime import Runtime
from operators.models import registry
from schemas.routing import routings_of
from schemas.tables import TABLES

Check = Callable[[], None]
_WITH_INDEX, _WITH_MODELS = frozenset({"pipeline", "register"}), frozenset({"pipeline", "enrich"})


def checks(runtime: Runtime, store: Path | None) -> dict[str, Check]:
    """The checks of a process by their names."""
    found: dict[str, Check] = {
        "source": lambda: source(runtime),
        "objects": lambda: objects(runtime),
        "tables": lambda: tables(runtime),
        "scratch": lambda: writable(runtime.scratch),
    }
    if store:
        found["recovery"] = lambda: writable(store)
    if runtime.name in _WITH_INDEX:
        found["index"] = lambda: index(runtime)
    if runtime.name in _WITH_MODELS:
        found["models"] = lambda: models(runtime)
    return found


def source(runtime: Runtime) -> None:
    """The leaders of all partitions answer."""
    away = [f"{feed.topic}-{feed.partition}" for feed in runtime.feeds if not feed.connected]
    if away:
        raise RuntimeError(f"no answer from the leader of {', '.join(sorted(away))}")


def objects(runtime: Runtime) -> None:
    """The object store answers."""
    runtime.loop.run(runtime.store.get("health.json"), ANSWER_S)


def index(runtime: Runtime) -> None:
    """The vector index answers."""
    runtime.loop.run(runtime.services.index.spaces(), ANSWER_S)


def tables(runtime: Runtime) -> None:
    """A table can be read, where tables are on a server; the first row makes it, so it may not be there yet."""
    settings = runtime.settings
    if settings.tables:
        with suppress(TableNotFoundError):
            DeltaTable(table_uri(settings, next(iter(TABLES))), storage_options=table_options(settings)).version()


def writable(folder: Path) -> None:
    """A file can be written there, and is on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        with probe.open("wb") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)


def models(runtime: Runtime) -> None:
    """The weights of every model in use are there."""
    routings = routings_of(runtime.settings.pipelines().values())
    missing = [path for routing in routings for path in registry.missing(routing)]
    if missing:
        raise RuntimeError(f"no weights at {', '.join(map(str, missing))}")
