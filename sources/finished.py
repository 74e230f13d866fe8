"""How far a partition's work is finished, also above its oldest unfinished message, and as the note of a commit."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import NamedTuple

# Kafka's own limit is `offset.metadata.max.bytes`, 4096 by default
_MOST = 4000


class Finished(NamedTuple):
    """All messages below `offset` are finished, and of those below `until` all but the ones in `left` (sorted)."""

    offset: int
    until: int = 0
    left: tuple[int, ...] = ()

    def has(self, offset: int) -> bool:
        """Whether this message is finished."""
        return offset < self.offset or (offset < self.until and offset not in self.left)

    def after(self, before: Finished) -> Finished:
        """The same for a reader that was told `before`, and so did not look at what was finished then."""
        if max(self.offset, self.until) >= before.until:
            return self
        left = {*self.left, *(offset for offset in before.left if offset >= max(self.offset, self.until))}
        return Finished(self.offset, before.until, tuple(sorted(left)))


class Note(NamedTuple):
    """What is committed with an offset: the id of the store that has the rest of the state, and what is finished."""

    store: str
    until: int = 0
    left: tuple[int, ...] = ()

    def text(self) -> str:
        """The store alone where nothing above the offset is finished, or where the rest would be too long."""
        if not self.until:
            return self.store
        steps = (after - before for before, after in pairwise((0, *self.left)))
        text = f"{self.store} {self.until} {','.join(map(str, steps))}"
        return text if len(text) <= _MOST else self.store


def note_of(text: str) -> Note:
    """The note that was committed."""
    store, _, rest = text.partition(" ")
    until, _, steps = rest.partition(" ")
    left = tuple(accumulate(int(step) for step in steps.split(",") if step))
    return Note(store, int(until or 0), left)
