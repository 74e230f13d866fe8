"""The work of which every side does the same: an ingest event decoded and validated, and its state told."""

from __future__ import annotations

import time

from schemas import topics
from schemas.cloudevents import encode
from schemas.errors import State
from schemas.events import StatusChanged
from schemas.messages import Record
from schemas.structs import Received


def told(event: Received) -> StatusChanged:
    """What a stage that begins says of an event."""
    return StatusChanged.of(
        asset_id=event.asset_id, job_id=event.event_id, tenant=event.tenant, generation=event.generation,
        accepted_ms=event.accepted_ms, stage="ingest", state=State.PROCESSING, attempt=1, at_ms=time.time_ns() // 10**6,
    )  # fmt: skip


def record(event: StatusChanged) -> Record:
    """The same as it is written."""
    return encode(topics.STATUS.name, event)
