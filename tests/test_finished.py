"""What is finished of a partition: as a note of a commit, and for a reader that begins there."""

from __future__ import annotations

import random

import pytest

from sources.finished import Finished, Note, note_of


@pytest.mark.parametrize("seed", range(20))
def test_a_note_says_it(seed: int) -> None:
    """A note is read as it was written, and each message is finished or left."""
    chance = random.Random(seed)
    first = chance.randrange(10**9)
    until = first + chance.randrange(1, 5000)
    left = tuple(sorted({first, *(chance.randrange(first, until) for _ in range(chance.randrange(200)))}))
    assert note_of(Note("store", until, left).text()) == ("store", until, left)
    found = Finished(first, until, left)
    assert [offset for offset in range(first - 5, until + 5) if not found.has(offset)] == [
        *left,
        *range(until, until + 5),
    ]


def test_a_note_that_would_be_too_long_is_the_store_alone() -> None:
    """Then the reader begins at the offset, and reads some again."""
    assert Note("store", 10**9, tuple(range(0, 10**9, 10**5))).text() == "store"
    assert note_of("store") == ("store", 0, ()) and note_of("") == ("", 0, ())
    assert Note("store").text() == "store"


@pytest.mark.parametrize("seed", range(50))
def test_what_was_finished_before_stays_finished(seed: int) -> None:
    """A reader that leaves out what was finished, and ends anywhere on its way, has told of all that is."""
    chance = random.Random(seed)
    done = {offset for offset in range(30) if chance.random() < 0.6}
    first = min({*range(31)} - done)
    before = Finished(first, 30, tuple(sorted({*range(first, 30)} - done)))
    read = [offset for offset in range(first, 40) if not before.has(offset)]
    seen = read[: chance.randrange(len(read))]
    now = {offset for offset in seen if chance.random() < 0.5}
    left = tuple(offset for offset in seen if offset not in now)
    position = seen[-1] + 1 if seen else first
    told = Finished(left[0], position, left) if left else Finished(position)
    merged = told.after(before)
    assert {offset for offset in range(40) if merged.has(offset)} == done | now | set(range(first))
    assert merged.has(merged.offset - 1) and (
        merged.offset >= merged.until or not merged.has(merged.offset) or not left
    )
