"""How each asset of a run ended: what the report shows even where there is no manifest."""

from __future__ import annotations

from schemas.base import Model
from schemas.errors import CODES, State


class EndingStep(Model):
    """One step of an asset; `duration_s` is what it took in this run, or when its cached result was made."""

    stage: str
    step: str
    state: State
    code: str = ""
    duration_s: float = 0.0
    cached: bool = False


class Ending(Model):
    """One asset's end. `kind` is "" where it was never learnt; `bytes` counts original and variants."""

    asset_id: str
    name: str
    kind: str = ""
    state: State
    code: str = ""
    message: str = ""
    steps: tuple[EndingStep, ...] = ()
    bytes: int = 0

    @property
    def advice(self) -> str:
        """The sentence that says what to do: the code's, where the message does not hold it already."""
        sentence = CODES[self.code].sentence if self.code in CODES else ""
        if not sentence or sentence in self.message:
            return self.message
        return f"{sentence} {self.message}".strip()

    @property
    def is_problem(self) -> bool:
        """Whether a person has something to do."""
        return self.state in (State.FAILED, State.REJECTED)

    @property
    def can_replay(self) -> bool:
        """Whether the same input may succeed when tried again."""
        return self.is_problem and self.code in CODES and CODES[self.code].transient
