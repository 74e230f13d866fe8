"""The recovery store of one process, and when it must be thrown away.

Its state is about the partitions that the process read. After a rescale, after a reset of offsets, or where another
store has taken a partition further, it would bring back work that is no longer this process's: then the process starts
anew, at the oldest unfinished offsets that were committed.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from bytewax.recovery import init_db_dir

from schemas.base import Model

NAME = "store.json"


class Store(Model):
    """Whose state a recovery store holds; `id` goes with every offset that is committed from it."""

    id: str
    process: int
    processes: int


def ready(folder: Path | None, process: int, processes: int, committed: Iterable[str]) -> str:
    """The id of the store in this folder, made anew if it cannot be gone on from; None for a run without one.

    `committed` are the ids that were committed with the offsets of the partitions to be read.
    """
    if folder is None:
        return uuid4().hex
    store = initialised(folder, process, processes)
    if {found for found in committed if found} - {store.id}:
        store = _make(folder, process, processes)
    return store.id


def initialised(folder: Path, process: int, processes: int) -> Store:
    """The store in this folder, made anew unless it is one of this process of so many. Raises OSError."""
    known = _known(folder)
    if known and (known.process, known.processes) == (process, processes):
        return known
    return _make(folder, process, processes)


def _known(folder: Path) -> Store | None:
    path = folder / NAME
    return Store.model_validate_json(path.read_bytes()) if path.exists() else None


def _make(folder: Path, process: int, processes: int) -> Store:
    store = Store(id=uuid4().hex, process=process, processes=processes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).unlink(missing_ok=True)
    for part in folder.glob("part-*.sqlite3*"):
        part.unlink()
    init_db_dir(folder, 1)
    written = folder / f"{NAME}.new"
    written.write_text(store.model_dump_json())
    written.replace(folder / NAME)
    return store


def given() -> Path | None:
    """The recovery store that `python -m bytewax.run` was given, by `-r` or by the environment."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-r", "--recovery-directory", type=Path, default=os.environ.get("BYTEWAX_RECOVERY_DIRECTORY"))
    found: Path | None = parser.parse_known_args()[0].recovery_directory
    return found
