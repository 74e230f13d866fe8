"""What a topic carries: messages as they were read, and records to be written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Headers = Mapping[str, bytes]


class Message(NamedTuple):
    """A message as it was read. `value` is None for a tombstone; of headers of one name the last counts."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Record(NamedTuple):
    """A message to be written. Records of one key keep their order, and lie in one partition."""

    topic: str
    key: str
    value: bytes
    headers: Headers
