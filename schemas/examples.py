"""An example of every event, the same every time: of one submission, both ways in which it may end, and a use."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from schemas import ids
from schemas.asset import Declared, IngestRequest, Source
from schemas.cloudevents import encode, encode_ingest
from schemas.errors import CODES, State
from schemas.events import (
    NOTIFICATION,
    PUBLICATION,
    Attempt,
    DeadLetter,
    IngestEvent,
    Notification,
    Publication,
    StatusChanged,
)
from schemas.messages import Record
from schemas.topics import DEAD_LETTERS, INGEST, NOTIFICATIONS, PUBLICATIONS, STATUS, USAGE
from schemas.usage import Price, Usage, UsageEvent

_TIME: Final = datetime(2030, 1, 31, 12, tzinfo=UTC)
_MS: Final = int(_TIME.timestamp() * 1000)
_REQUEST: Final = IngestRequest(
    tenant="acme",
    owner="editor@acme.example",
    source=Source(uri="https://media.acme.example/launch.mp4", name="launch.mp4", validator='"5f3a"'),
    idempotency_key="cms/4711",
    declared=Declared(title="Launch", tags=("rocket",), language="en"),
)
_EVENT: Final = IngestEvent(
    id="cms/4711/1",
    source="https://cms.acme.example",
    subject=_REQUEST.asset_id,
    time=_TIME,
    data=_REQUEST,
)
_JOB: Final = ids.job_id(_REQUEST.asset_id, "default")
_PUBLISHED: Final = Publication(
    event_id=ids.event_id(PUBLICATION, _JOB),
    asset_id=_REQUEST.asset_id,
    job_id=_JOB,
    tenant="acme",
    channel="folder",
    manifest_version=1,
    url="file:///srv/published/launch",
    files=12,
    bytes=48_000_000,
)
_FAILED: Final = CODES["truncated"]
_LETTER: Final = DeadLetter(
    dead_letter_id=ids.event_id("dead-letter", _JOB, 0),
    asset_id=_REQUEST.asset_id,
    job_id=_JOB,
    tenant="acme",
    stage="validate",
    state=_FAILED.state,
    code="truncated",
    message=_FAILED.sentence,
    attempts=(Attempt(number=1, code="truncated"),),
    event_id=_EVENT.id,
    input=_REQUEST,
    accepted_ms=_MS,
)
_STATUS: Final = StatusChanged.of(
    asset_id=_REQUEST.asset_id, job_id=_JOB, tenant="acme", stage="publish", state=State.COMPLETED,
    duration_s=0.25, accepted_ms=_MS, at_ms=_MS + 42_000,
)  # fmt: skip
_TOLD: Final = Notification(
    event_id=ids.event_id(NOTIFICATION, _LETTER.dead_letter_id),
    asset_id=_REQUEST.asset_id,
    tenant="acme",
    owner="editor@acme.example",
    state=_FAILED.state,
    code="truncated",
    message=_FAILED.sentence,
)

_USED: Final = UsageEvent(
    id="shop/invoices/815/1",
    source="https://shop.acme.example",
    subject=_REQUEST.asset_id,
    time=_TIME,
    data=Usage(
        tenant="acme", asset_id=_REQUEST.asset_id, action="sold", quantity=2, price=Price(amount=1998, currency="EUR")
    ),
)

# as messages of Kafka, by the name of the event's document
EXAMPLES: Final[dict[str, Record]] = {
    "ingest-event": encode_ingest(INGEST.name, _EVENT),
    "usage-event": encode_ingest(USAGE.name, _USED),
    "status-event": encode(STATUS.name, _STATUS),
    "publication-event": encode(PUBLICATIONS.name, _PUBLISHED),
    "notification-event": encode(NOTIFICATIONS.name, _TOLD),
    "dead-letter-event": encode(DEAD_LETTERS.name, _LETTER),
}
BINARY: Final = {
    "ingest-event": encode_ingest(INGEST.name, _EVENT, binary=True),
    "usage-event": encode_ingest(USAGE.name, _USED, binary=True),
}
