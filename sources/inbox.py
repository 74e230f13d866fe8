"""The embedded stand-in for a topic: a durable, append-only log of events in a file, and its source."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

_WAIT = timedelta(milliseconds=100)
_TAIL_BYTES = 1 << 16


class Line(NamedTuple):
    """One line of the log without its newline, and where it begins, in bytes from the log's start."""

    offset: int
    value: bytes


class Inbox:
    """A log of JSON lines, one CloudEvent each, that many processes may append to at once."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, lines: Iterable[bytes]) -> None:
        """Appends lines (without newlines) and returns once they are on the disk.

        A half-written line that a crash left behind is cut off first. Raises ValueError for a line with a
        newline.
        """
        whole = list(lines)
        if any(b"\n" in line for line in whole):
            raise ValueError("a line of the inbox cannot hold a newline")
        with self._locked() as file:
            file.truncate(_whole_bytes(file))
            file.seek(0, os.SEEK_END)
            file.write(b"".join(line + b"\n" for line in whole))
            file.flush()
            os.fsync(file.fileno())

    def holding(self, lines: Collection[bytes]) -> Iterator[bytes]:
        """Those of the lines (without newlines) that the log has already."""
        self.create()
        with self.path.open("rb") as file:
            yield from (line[:-1] for line in file if line[:-1] in lines)

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        self.create()
        with self.path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def create(self) -> None:
        """Makes the empty log, and its folder, if it is not there."""
        if self.path.exists():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _whole_bytes(file: BinaryIO) -> int:
    """The length up to and including the last newline."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _TAIL_BYTES)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


class _InboxPartition(StatefulSourcePartition[Line, int]):
    def __init__(self, source: InboxSource, offset: int) -> None:
        self._source, self._offset = source, offset
        self._awake: datetime | None = None
        self._file = source.inbox.path.open("rb")
        size = os.fstat(self._file.fileno()).st_size
        if size < offset:
            raise ValueError(f"the inbox has {size} bytes but was read to {offset}: it is not the same log")

    def next_batch(self) -> list[Line]:
        lines = self._read()
        if not lines and not self._source.follow:
            raise StopIteration
        self._awake = None if lines else datetime.now(UTC) + _WAIT
        return lines

    def _read(self) -> list[Line]:
        if os.fstat(self._file.fileno()).st_size <= self._offset:
            return []
        # A line may be visible before its writer's fsync: what the flow has read must survive a power cut.
        os.fsync(self._file.fileno())
        self._file.seek(self._offset)
        lines: list[Line] = []
        while len(lines) < self._source.batch_size and (value := self._file.readline()).endswith(b"\n"):
            lines.append(Line(self._offset, value[:-1]))
            self._offset += len(value)
        return lines

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> int:
        return self._offset

    def close(self) -> None:
        self._file.close()


@dataclass
class InboxSource(FixedPartitionedSource[Line, int]):
    """Reads an inbox from its start, or after a restart from where it was read to.

    Delivery is at least once: lines of the epoch that was open at a crash come again. A line is handed on as
    raw bytes, whatever its length or encoding, and only once its newline is there. With `follow` it waits for
    more, else it ends at the last whole line.
    """

    path: Path
    follow: bool = False
    batch_size: int = 16

    @property
    def inbox(self) -> Inbox:
        """The log that is read."""
        return Inbox(self.path)

    def list_parts(self) -> list[str]:
        """The log is one partition."""
        return ["inbox"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _InboxPartition:
        """Opens the log, or creates it. Raises ValueError when it is shorter than what was read."""
        self.inbox.create()
        return _InboxPartition(self, resume_state or 0)
