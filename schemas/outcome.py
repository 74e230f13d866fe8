"""What a stage hands back for one item: what goes on, what happened, and what is to be recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from schemas.base import Model
from schemas.errors import CODES, State
from schemas.events import Attempt, StatusChanged

T = TypeVar("T")
M = TypeVar("M", bound=Model)
Row = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """A stage's success.

    `item` goes to the next stage; None means that nothing follows (a duplicate, or the last stage). `events`
    are the stage's step events, in order; `rows` are (table, row) pairs, each row with its `row_id`; `state`
    is the stage's final state: completed, skipped or duplicate.
    """

    item: T | None
    events: tuple[StatusChanged, ...] = ()
    rows: tuple[Row, ...] = ()
    state: State = State.COMPLETED


@dataclass(frozen=True)
class Failed(Generic[T]):
    """An item that a stage gave up on, with all attempts; code and detail are the last one's."""

    item: T
    stage: str
    code: str
    detail: str
    attempts: tuple[Attempt, ...]

    @property
    def state(self) -> State:
        """The state in which the asset ends."""
        return CODES[self.code].state


class Subject(NamedTuple):
    """What an item is about, for its events."""

    asset_id: str
    job_id: str
    tenant: str
    generation: int = 0
    accepted_ms: int = 0
    traceparent: str = ""


class Codec(NamedTuple, Generic[T]):
    """Items as UTF-8 text (JSON) and back, so that no snapshot holds a pickled class."""

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]


def model_codec(model: type[M]) -> Codec[M]:
    """The codec of a pydantic model."""
    return Codec(lambda item: item.model_dump_json().encode(), model.model_validate_json)
