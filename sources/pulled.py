"""A source over the partitions of a transport (`sources.feed`), which waits while its process has enough in hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from operators.gate import Gate
from schemas import metrics
from schemas.messages import Message
from sources.feed import Feed
from sources.finished import Finished
from sources.watermark import Watermark

_WAIT = timedelta(milliseconds=4)
# Long enough for a batch to reach the first stage, where it is counted.
_SETTLE = timedelta(milliseconds=1)


class _PulledPartition(StatefulSourcePartition[Message, int | None]):
    def __init__(self, feed: Feed, gate: Gate, watermark: Watermark, offset: int | None) -> None:
        self._feed, self._gate, self._watermark = feed, gate, watermark
        self._following = offset
        self._closed: float | None = None  # when an epoch was closed since the last batch
        self._committed: int | None = None
        self._finished: Finished | None = None
        self._awake: datetime | None = None
        feed.start(offset)

    def next_batch(self) -> list[Message]:
        self._gate.pulse.beat()
        if self._gate.draining:
            raise StopIteration
        if self._closed is not None:
            metrics.EPOCH_SECONDS.observe(time.monotonic() - self._closed)
            self._close_epoch()
        messages = [] if self._gate.unfinished >= self._gate.limit else self._feed.pull()
        self._awake = datetime.now(UTC) + (_SETTLE if messages else _WAIT)
        self._following = self._feed.position if self._feed.position is not None else self._following
        return messages

    def _close_epoch(self) -> None:
        """The engine asks for more only once the epoch before is committed; what is told is one epoch older still."""
        self._closed = None
        if self._committed is not None:
            self._feed.committed(self._committed)
        if self._finished is not None:
            self._feed.finished(self._finished)
        if self._following is not None:
            self._committed, self._finished = self._following, self._watermark.close_epoch(self._following)

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> int | None:
        self._closed = time.monotonic()
        return self._following

    def close(self) -> None:
        self._feed.retry(self._committed, 0.0)
        self._feed.close()


@dataclass
class PulledSource(FixedPartitionedSource[Message, int | None]):
    """Messages of these partitions of a transport, each from where the last run had read it to.

    Delivery is at least once: messages of the epoch that was open at a crash come again. A transport hears of
    what is committed to the recovery store, and of what is finished (`sources.watermark`), once that cannot be
    undone. The source never ends by itself; when the gate drains it does. It holds for one process, whose stages
    share the gate; and for a cluster without stages, whose sinks end an epoch only once all of it is durable.
    """

    feeds: Mapping[str, Callable[[], Feed]]
    gate: Gate
    watermarks: Mapping[str, Watermark]

    def list_parts(self) -> list[str]:
        """The partitions that this process reads."""
        return list(self.feeds)

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _PulledPartition:
        """Connects to a partition. Raises RuntimeError if what is to be read next is gone."""
        return _PulledPartition(self.feeds[for_part](), self.gate, self.watermarks[for_part], resume_state)
