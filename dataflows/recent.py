"""A window of the newest events' ids, so that an event that is delivered again costs no claim: only a shortcut."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from schemas.ids import shard_of

REMEMBERED = 100_000
_BYTES = 16
# fewer than stages have: a batch has more for each of them at once
_SHARDS = 32
_SHARD = REMEMBERED // _SHARDS

Item = tuple[str, Any]


class _Window(StatefulBatchLogic[Item, Item, bytes]):
    """Digests of 16 bytes in two generations; a snapshot is both of them, end to end. Never discarded."""

    def __init__(self, id_of: Callable[[Any], str], state: bytes | None) -> None:
        self._id_of, state = id_of, state or b""
        self._old = {state[i : i + _BYTES] for i in range(0, len(state), _BYTES)}
        self._new: set[bytes] = set()

    def on_batch(self, values: list[Item]) -> tuple[list[Item], bool]:
        return [item for item in values if self._first(self._id_of(item[1]))], False

    def _first(self, event_id: str) -> bool:
        digest = blake2b(event_id.encode(), digest_size=_BYTES).digest()
        if digest in self._new or digest in self._old:
            return False
        if len(self._new) >= _SHARD:
            self._old, self._new = self._new, set()
        self._new.add(digest)
        return True

    def snapshot(self) -> bytes:
        return b"".join((*self._old, *self._new))


@operator
def recent(step_id: str, up: KeyedStream[Any], id_of: Callable[[Any], str]) -> KeyedStream[Any]:
    """Passes an item unless one of the same id came shortly before, about the last 100,000 of them."""
    shards = op.flat_map_batch("shard", up, lambda items: [(shard_of(item[0], _SHARDS), item) for item in items])
    passed = op.stateful_batch("window", shards, lambda state: _Window(id_of, state))
    return op.flat_map_batch("unshard", passed, lambda items: [item for _shard, item in items])
