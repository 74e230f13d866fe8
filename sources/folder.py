"""Local files, folders and URLs as ingest requests, and a folder that is watched for files of stable size."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from schemas import ids
from schemas.asset import IngestRequest, Source
from schemas.events import IngestEvent
from schemas.pipelines import Pipeline

NAME_CHARACTERS, KEY_CHARACTERS = 200, 1024


@dataclass(frozen=True)
class Submission:
    """What all requests of one submission share; `wanted` says by its name whether a folder's file is taken.

    `key` is the idempotency key where it is not the default one, which only a single request can have. `beside` says
    whether a file (its name first) lies beside another one as its sidecar.
    """

    pipeline: Pipeline
    tenant: str = "default"
    wanted: Callable[[str], bool] = lambda _name: True
    key: str = ""
    beside: Callable[[str, str], bool] = lambda _sidecar, _name: False
    fields: dict[str, Any] = field(default_factory=dict)


def walk(folder: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    """The folder's files in order of name, hidden ones left out.

    A link is a file by its name, wherever it leads: links are not followed into other folders.
    A folder within it that is gone or may not be read by the time it is looked at is left out, too.
    """
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            with suppress(OSError):
                yield from walk(Path(entry.path), wanted)
        elif wanted(entry.name):
            yield Path(entry.path)


def file_event(path: Path, root: Path, submission: Submission) -> IngestEvent:
    """The event for one file with its sidecars. Its default key is its name and their hashes; the event's time is the
    file's own.

    A file that cannot be read, or lies outside the root by a link, is submitted by its path and refused by ingest,
    so that it too ends in a state.
    """
    path = path.absolute()
    source = _source(path, root)
    beside = tuple(_source(one, root) for one in sidecars(path, submission.beside))
    key = ":".join((source.sha256, source.name, *(one.sha256 for one in beside))) if source.sha256 else _text(str(path))
    time = datetime.fromtimestamp(_changed(path) if source.sha256 else 0, UTC)
    return event_for(source, key, submission, time, beside)


def _source(path: Path, root: Path) -> Source:
    digest = _hash(path) if path.is_file() and path.resolve().is_relative_to(root.resolve()) else ""
    return Source(uri=path.as_uri(), name=_text(path.name), root=str(root.absolute()), sha256=digest)


def sidecars(path: Path, beside: Callable[[str, str], bool]) -> list[Path]:
    """The files that lie beside a file and belong to it, by name."""
    try:
        by_stem = _by_stem(path.parent, path.parent.stat().st_mtime_ns)
    except OSError:
        return []
    return [path.parent / name for name in by_stem.get(path.stem, ()) if beside(name, path.name)]


@lru_cache(maxsize=8)
def _by_stem(folder: Path, _changed_ns: int) -> dict[str, list[str]]:
    """The folder's files with a second name before a dot, under each of the names that they begin with."""
    found = defaultdict[str, list[str]](list)
    for name in sorted(entry.name for entry in os.scandir(folder) if entry.is_file()):
        for stem in accumulate(name.split(".")[:-1], "{}.{}".format):
            found[stem].append(name)
    return dict(found)


def _text(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8 are replaced; the URI has them as they are."""
    return os.fsencode(name).decode(errors="replace")


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def url_event(url: str, name: str, validator: str, submission: Submission) -> IngestEvent:
    """The event for one URL. Its default key is the URL with its validator."""
    source = Source(uri=url, name=name[-NAME_CHARACTERS:] or "download", validator=validator)
    return event_for(source, f"{url}#{validator}", submission, datetime.fromtimestamp(0, UTC))


def event_for(
    source: Source, key: str, submission: Submission, time: datetime, beside: tuple[Source, ...] = ()
) -> IngestEvent:
    """An ingest event whose id is the same for the same request, pipeline and time: sending it again is a replay.

    The time belongs to the id since rows of the event are found again by it.
    """
    key = submission.key or key
    short = key if len(key) <= KEY_CHARACTERS else ids.digest("key", key)
    request = IngestRequest(
        tenant=submission.tenant, source=source, sidecars=beside, idempotency_key=short,
        pipeline=submission.pipeline.name, **submission.fields,
    )  # fmt: skip
    unique = (request.asset_id, request.payload_digest, submission.pipeline.fingerprint, time.isoformat())
    return IngestEvent(
        id=ids.event_id("ingest", *unique),
        source="asset-pipeline/run",
        subject=request.asset_id,
        time=time,
        data=request,
    )


@dataclass
class Watcher:
    """Finds files whose size and time have been the same for `settle` scans; each state of a file is found once.

    A file that was moved within the folder is the same file.
    """

    root: Path
    wanted: Callable[[str], bool]
    settle: int = 2
    _seen: dict[Path, tuple[tuple[int, int, int], int]] = field(default_factory=dict)

    def scan(self) -> list[Path]:
        """The files that have become stable since the last scan."""
        now, seen = self._states(), {}
        moved = {state: scans for path, (state, scans) in self._seen.items() if path not in now}
        for path, state in now.items():
            before, scans = self._seen.get(path, (state, moved.get(state, 0)))
            seen[path] = (state, scans + 1 if before == state else 1)
        self._seen = seen
        return [path for path, (_, scans) in seen.items() if scans == self.settle]

    def _states(self) -> dict[Path, tuple[int, int, int]]:
        states = {}
        with suppress(OSError):
            for path in walk(self.root, self.wanted):
                with suppress(OSError):
                    found = path.stat()
                    states[path] = (found.st_ino, found.st_size, found.st_mtime_ns)
        return states
