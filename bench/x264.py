"""x264's own account of its settings, which it writes into the stream: what makes two encodes comparable."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

# an unregistered SEI message: "x264 - core 165 r3222 b35605a - H.264/MPEG-4 AVC codec - … - options: cabac=1 ref=2 …"
_ACCOUNT = re.compile(rb"x264 - core (\d+)[^\0]*? - options: ([ -~]+)")
# how many threads share the work, which is what the benchmark compares
_THREADS = {"threads", "lookahead_threads"}


class Unfair(RuntimeError):
    """The two sides of a comparison do not do the same work."""


@dataclass(frozen=True)
class Account:
    """The number of x264's core, and its options by name, without those of threads."""

    core: int
    options: tuple[tuple[str, str], ...]


def accounts(path: Path) -> set[Account]:
    """The different accounts in a file; a file that was joined of chunks has one a chunk. Raises Unfair for none."""
    found = {Account(int(core), _options(text.decode())) for core, text in _ACCOUNT.findall(path.read_bytes())}
    if not found:
        raise Unfair(f"{path.name} does not say how x264 was set")
    return found


def _options(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (word.partition("=") for word in text.split())
    return tuple((name, value) for name, _, value in pairs if name not in _THREADS)


def require_same(ours: Path, rival: Path) -> Account:
    """The account that both files give. Raises Unfair with the options that differ."""
    mine, theirs = accounts(ours), accounts(rival)
    if len(mine) == 1 and mine == theirs:
        return mine.pop()
    raise Unfair(f"x264 was not set alike for {ours.name} and its rival: {_differences(mine | theirs)}")


def _differences(found: set[Account]) -> str:
    seen = [{"core": str(account.core), **dict(account.options)} for account in found]
    names = sorted({name for options in seen for name in options})
    values = {name: sorted({options.get(name, "absent") for options in seen}) for name in names}
    return "; ".join(f"{name} is {' or '.join(v)}" for name, v in values.items() if len(v) > 1)
