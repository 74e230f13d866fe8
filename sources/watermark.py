"""How far a partition's work is finished: what may be committed, so that a reader without state can start there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Held = tuple[int, str]


class Watermark:
    """The oldest offset of one partition whose assets are unfinished, as of an epoch that is committed.

    An asset is finished when an epoch has gone by in which it was in no stage and left none, and no sink waits with
    rows of it. It is fed by the thread of the dataflow only.
    """

    def __init__(self, unfinished: Callable[[], set[str]], left: set[str]) -> None:
        """`unfinished` tells the keys in stages and sinks; `left` gets those that leave a stage; it is emptied here."""
        self._unfinished, self._left = unfinished, left
        self._old: dict[str, int] = {}
        self._last: list[Sequence[Held]] = []
        self._new: list[Sequence[Held]] = []
        self._restored: set[str] | None = None

    def hold(self, held: Sequence[Held]) -> None:
        """Offsets that were read in this epoch, in order, each with the asset that it is about."""
        if held:
            self._new.append(held)

    def close_epoch(self, following: int) -> int | None:
        """At the end of an epoch that read up to `following`: the oldest offset that is not known to be finished.

        None while there is work that a recovery store brought back: it was read before, at offsets not known here.
        """
        busy = self._unfinished() | self._left
        self._left.clear()
        if self._restored is None:
            self._restored = busy - {key for batch in self._new for _offset, key in batch}
        self._restored &= busy
        if busy:
            held = [(key, offset) for batch in reversed(self._last) for offset, key in reversed(batch) if key in busy]
            self._old = dict(held) | {key: offset for key, offset in self._old.items() if key in busy}
        else:
            self._old = {}
        self._last, self._new = self._new, []
        first = self._last[0][0][0] if self._last else following
        return None if self._restored else min(self._old.values(), default=first)
