"""Events at the border: CloudEvents 1.0 in structured mode, one data model each."""

from __future__ import annotations

from typing import Any, Final, Generic, Literal, TypeVar

from pydantic import AwareDatetime, Field

from schemas import ids
from schemas.asset import IngestRequest
from schemas.base import Model
from schemas.errors import CODES, State

INGEST: Final = "assets.ingest.requested.v1"
STATUS: Final = "assets.status.changed.v1"
PUBLICATION: Final = "assets.publication.recorded.v1"
NOTIFICATION: Final = "assets.owner.notified.v1"
DEAD_LETTER: Final = "assets.dead-letter.recorded.v1"

Data = TypeVar("Data", bound=Model)


class CloudEvent(Model, Generic[Data]):
    """CloudEvents 1.0, JSON format, with an extension attribute for W3C trace context."""

    specversion: Literal["1.0"] = "1.0"
    id: str = Field(min_length=1)
    source: str = Field(min_length=1)
    type: str
    subject: str = ""
    time: AwareDatetime | None = None
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str = ""
    traceparent: str = ""
    data: Data


class IngestEvent(CloudEvent[IngestRequest]):
    """A producer asks for an asset to be taken in."""

    type: Literal["assets.ingest.requested.v1"] = INGEST


class StatusChanged(Model):
    """A step, or with an empty `step` a whole stage, changed state.

    Events order by (generation, attempt, sequence) within a stage and step; `at_ms` is for people only.
    `accepted_ms` is when the job was accepted (before that, the ingest event's own time), the same on a replay.
    `url` is where what the step made can be played already, for a short time and for the asset's owner alone.
    """

    event_id: str
    asset_id: str
    job_id: str
    tenant: str
    stage: str
    step: str = ""
    state: State
    code: str = ""
    message: str = ""
    generation: int = 0
    attempt: int = 1
    sequence: int = 0
    duration_s: float = 0.0
    cached: bool = False
    result_id: str = ""
    url: str = ""
    accepted_ms: int = 0
    at_ms: int = 0
    traceparent: str = ""

    @classmethod
    def of(cls, *, asset_id: str, job_id: str, stage: str, state: State, step: str = "", **rest: Any) -> StatusChanged:
        """With its deterministic id, its place in the sequence, and the code's sentence as message."""
        code, detail = str(rest.get("code", "")), str(rest.pop("detail", ""))
        sequence = _SEQUENCE[state]
        unique = (job_id, stage, step, rest.get("generation", 0), rest.get("attempt", 1), sequence, state)
        sentence = CODES[code].sentence if code else ""
        message = f"{sentence} ({detail})" if sentence and detail else sentence or detail
        # in two thirds of the time of the class itself: every message has events
        return cls.model_validate({
            "event_id": ids.event_id(STATUS, *unique), "asset_id": asset_id, "job_id": job_id, "stage": stage,
            "step": step, "state": state, "sequence": sequence, "message": message, **rest,
        })  # fmt: skip


_SEQUENCE = {
    State.PENDING: 0, State.PROCESSING: 1, State.FAILED: 2, State.REJECTED: 2, State.DUPLICATE: 2,
    State.SKIPPED: 3, State.COMPLETED: 3,
}  # fmt: skip


class StatusEvent(CloudEvent[StatusChanged]):
    """The border form of a status change."""

    type: Literal["assets.status.changed.v1"] = STATUS


class Publication(Model):
    """One channel's receipt for one version of an asset."""

    event_id: str
    asset_id: str
    job_id: str
    tenant: str
    channel: str
    action: Literal["published", "withdrawn"] = "published"
    manifest_version: int
    url: str
    files: int = 0
    bytes: int = 0


class PublicationEvent(CloudEvent[Publication]):
    """The border form of a publication."""

    type: Literal["assets.publication.recorded.v1"] = PUBLICATION


class Notification(Model):
    """What the owner is told when an asset did not complete."""

    event_id: str
    asset_id: str
    tenant: str
    owner: str
    state: State
    code: str
    message: str


class NotificationEvent(CloudEvent[Notification]):
    """The border form of a notification."""

    type: Literal["assets.owner.notified.v1"] = NOTIFICATION


class Attempt(Model):
    """One failed attempt, and the step or the steps that share the work that failed."""

    number: int
    code: str
    detail: str = ""
    step: str = ""
    traceback: str = ""


class DeadLetter(Model):
    """An input that ended badly, kept so that it can be replayed; `input` is the ingest event's JSON.

    A message that could not be read is in `raw`, or where it is no text or over 256 KB in the object `raw_object`,
    with its `key` and `headers`; `topic` is where it came from. `at_ms` is when it was kept, in ms since 1970.
    """

    dead_letter_id: str
    asset_id: str
    job_id: str
    tenant: str
    stage: str
    state: State
    code: str
    message: str
    generation: int = 0
    attempts: tuple[Attempt, ...] = ()
    event_id: str
    input: IngestRequest | None = None
    raw: str = ""
    raw_object: str = ""
    topic: str = ""
    key: str = ""
    headers: dict[str, str] = {}
    accepted_ms: int = 0
    at_ms: int = 0
    traceparent: str = ""


class DeadLetterEvent(CloudEvent[DeadLetter]):
    """The border form of a dead letter."""

    type: Literal["assets.dead-letter.recorded.v1"] = DEAD_LETTER
