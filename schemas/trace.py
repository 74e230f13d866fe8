"""The trace of an asset: the producer's by W3C Trace Context, or one that follows from the ingest event's id."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

# a later version may have more behind the flags, which its readers of today leave alone
_GIVEN = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


class Trace(NamedTuple):
    """Ids as integers: of the trace, and of the span that an asset's spans are children of."""

    trace_id: int
    span_id: int
    sampled: bool

    @property
    def ours(self) -> bool:
        """Whether no producer made it, so that the span is ours to tell."""
        return self.span_id == self.trace_id >> 64


def traceparent(given: str, event_id: str) -> str:
    """What the producer gave, or where that is none, as the standard asks, a trace that is the same for this event."""
    if _GIVEN.fullmatch(given):
        return given[:55]
    trace = hashlib.sha256(event_id.encode()).hexdigest()[:32]
    return f"00-{trace}-{trace[:16]}-01"


def trace_of(parent: str) -> Trace:
    """The trace that a text of `traceparent` names."""
    _version, trace, span, flags = parent.split("-")
    return Trace(int(trace, 16), int(span, 16), bool(int(flags, 16) & 1))
