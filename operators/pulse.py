"""Whether a process still turns: when its run loop did, and which stages are past their deadlines."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_STAGES = "operators.stages."
LOOP = "loop"


@dataclass(eq=False)
class _Attempt:
    stage: str
    until: float


class Pulse:
    """Fed by the source, on the run loop's thread, and by all attempts, on the stages' loop; read by any thread.

    An attempt is cancelled at its deadline: one that is at work `grace_s` later does not hear of it. Nothing that the
    stages' loop runs may hold it for `grace_s`.
    """

    def __init__(self, grace_s: float = 60.0) -> None:
        self.grace_s = grace_s
        self.turned: float | None = None
        self._attempts: dict[_Attempt, None] = {}
        self._stages: set[str] = set()
        self._loop_turned: float | None = None
        self._loop_thread = 0

    def beat(self) -> None:
        """The run loop turns."""
        self.turned = time.monotonic()

    def loop_beat(self) -> None:
        """The stages' loop turns; called on its thread."""
        self._loop_turned, self._loop_thread = time.monotonic(), threading.get_ident()

    @contextmanager
    def attempt(self, stage: str, timeout_s: float) -> Iterator[None]:
        """An attempt of a stage that is to end in time."""
        self._stages.add(stage)
        self._attempts[made := _Attempt(stage, time.monotonic() + timeout_s)] = None
        try:
            yield
        finally:
            del self._attempts[made]

    def at_work(self) -> dict[str, int]:
        """How many attempts each stage has at work, of all stages that ever had one."""
        return dict.fromkeys(self._stages, 0) | Counter(attempt.stage for attempt in list(self._attempts))

    def stuck(self) -> list[str]:
        """The stages that are, `loop` where their loop stands and no stage of ours holds it."""
        now = time.monotonic()
        found = {attempt.stage for attempt in list(self._attempts) if now > attempt.until + self.grace_s}
        if self._loop_turned is not None and now > self._loop_turned + self.grace_s:
            found.add(self._holder())
        return sorted(found)

    def _holder(self) -> str:
        """The stage whose code the loop's thread is in."""
        frame = sys._current_frames().get(self._loop_thread)
        while frame:
            name = str(frame.f_globals.get("__name__"))
            if name.startswith(_STAGES):
                return name.removeprefix(_STAGES)
            frame = frame.f_back
        return LOOP
