"""A source of what is said from now on: of partitions whose past nobody needs, and for which nothing waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from operators.gate import Gate
from schemas.messages import Message
from sources.feed import Feed

_WAIT = timedelta(milliseconds=4)


class _LivePartition(StatefulSourcePartition[Message, None]):
    def __init__(self, feed: Feed, gate: Gate, offset: int) -> None:
        self._feed, self._gate = feed, gate
        feed.start(offset)

    def next_batch(self) -> list[Message]:
        if self._gate.draining:
            raise StopIteration
        return self._feed.pull()

    def next_awake(self) -> datetime:
        return datetime.now(UTC) + _WAIT

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        self._feed.close()


@dataclass
class LiveSource(FixedPartitionedSource[Message, None]):
    """Messages of these partitions from an offset on, in order, at most once: no run reads again what one has read.

    The gate holds nothing back here, so that what comes may be what its unfinished work waits for. It ends when the
    gate drains.
    """

    feeds: Mapping[str, Callable[[], Feed]]
    offsets: Mapping[str, int]
    gate: Gate

    def list_parts(self) -> list[str]:
        """The partitions that this process reads."""
        return list(self.feeds)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _LivePartition:
        """Connects to a partition. Raises RuntimeError if what is to be read is gone."""
        return _LivePartition(self.feeds[for_part](), self.gate, self.offsets[for_part])
