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
    fresh = Store(id=uuid4().hex, process=process, processes=processes)
    if folder is None:
        return fresh.id
    known = _known(folder)
    others = {found for found in committed if found} - ({known.id} if known else set())
    if known and not others and (known.process, known.processes) == (process, processes):
        return known.id
    _make(folder, fresh)
    return fresh.id


def _known(folder: Path) -> Store | None:
    path = folder / NAME
    return Store.model_validate_json(path.read_bytes()) if path.exists() else None


def _make(folder: Path, store: Store) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).unlink(missing_ok=True)
    for part in folder.glob("part-*.sqlite3*"):
        part.unlink()
    init_db_dir(folder, 1)
    written = folder / f"{NAME}.new"
    written.write_text(store.model_dump_json())
    written.replace(folder / NAME)


def given() -> Path | None:
    """The recovery store that `python -m bytewax.run` was given, by `-r` or by the environment."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-r", "--recovery-directory", type=Path, default=os.environ.get("BYTEWAX_RECOVERY_DIRECTORY"))
    found: Path | None = parser.parse_known_args()[0].recovery_directory
    return found
