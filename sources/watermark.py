"""How far a partition's work is finished: what may be committed, so that a reader without state can start there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sources.finished import Finished

Held = tuple[int, str]


class Watermark:
    """What is finished of one partition, as of an epoch that is committed.

    An asset is finished when an epoch has gone by in which it was in no stage and left none, and no sink waits with
    rows of it. It is fed by the thread of the dataflow only.
    """

    def __init__(self, unfinished: Callable[[], set[str]], left: set[str]) -> None:
        """`unfinished` tells the keys in stages and sinks; `left` gets those that leave a stage; it is emptied here."""
        self._unfinished, self._left = unfinished, left
        self._old: dict[str, list[int]] = {}
        self._last: list[Sequence[Held]] = []
        self._new: list[Sequence[Held]] = []
        self._restored: set[str] | None = None

    def hold(self, held: Sequence[Held]) -> None:
        """Offsets that were read in this epoch, in order, each with the asset that it is about."""
        if held:
            self._new.append(held)

    def close_epoch(self, following: int) -> Finished | None:
        """At the end of an epoch that read up to `following`: what is known to be finished.

        None while there is work that a recovery store brought back: it was read before, at offsets not known here.
        """
        busy = self._unfinished() | self._left
        self._left.clear()
        if self._restored is None:
            self._restored = busy - {key for batch in self._new for _offset, key in batch}
        self._restored &= busy
        self._old = {key: offsets for key, offsets in self._old.items() if key in busy}
        if busy:
            for offset, key in [held for batch in self._last for held in batch if held[1] in busy]:
                self._old.setdefault(key, []).append(offset)
        self._last, self._new = self._new, []
        if self._restored:
            return None
        until = self._last[0][0][0] if self._last else following
        left = tuple(sorted(offset for offsets in self._old.values() for offset in offsets))
        return Finished(left[0], until, left) if left else Finished(until)
