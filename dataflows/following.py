"""What the command `submit` does: sends requests to Kafka, and follows what is told of their assets to the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from dataflows.fates import Fate, Following
from dataflows.output import Output
from dataflows.progress import Progress
from dataflows.submit import left_out
from dataflows.submitting import Request, submit
from schemas.errors import State
from schemas.events import IngestEvent, StatusChanged
from schemas.settings import Settings
from schemas.topics import STATUS
from sinks.kafka import COMMANDS_PATIENCE_S
from sources.folder import Submission
from sources.kafka_tail import KafkaTail

SUBMITTED = ["asset", "state", "code", "asset_id", "message"]
_SILENT_S = 30.0
_SLICE_S = 0.2
_LOOK_UP_EVERY_S = 5.0


def run(
    settings: Settings, targets: Sequence[str], submission: Submission, output: Output, wait_s: float = 0.0
) -> bool:
    """Submits the targets, and waits so long for their ends; whether all were sent, or with a wait all completed.

    Raises FileNotFoundError, RuntimeError if Kafka does not answer, AssetError if the object store does not.
    """
    for path in left_out(targets):
        output.notes.print(f"left out {path}: no media by its name", style="dim", highlight=False)
    tail = (
        KafkaTail(settings, STATUS, COMMANDS_PATIENCE_S) if wait_s else None
    )  # hears all that follows the first event
    with output.notes.status("submitting …") as shown:
        requests = submit(
            settings, targets, submission, lambda r: shown.update(f"submitted {r.event.data.source.name}")
        )
    sent = [request.event for request in requests if not request.refused]
    fates = _followed(settings, tail, sent, output, wait_s) if tail else {}
    found = [_refused(r) or fates.get(r.event.id, Fate()) for r in requests]
    output.rows([_row(request, fate) for request, fate in zip(requests, found, strict=True)], SUBMITTED)
    return all(fate.well if wait_s else not fate.ended for fate in found)


def _refused(request: Request) -> Fate | None:
    error = request.refused
    return Fate(state=State.REJECTED, code=error.code, message=error.sentence) if error else None


def _row(request: Request, fate: Fate) -> dict[str, Any]:
    data = request.event.data
    about = {"asset": data.source.name, "asset_id": data.asset_id, "event_id": request.event.id}
    return about | fate.model_dump(mode="json")


def _followed(
    settings: Settings, tail: KafkaTail, events: Sequence[IngestEvent], output: Output, wait_s: float
) -> dict[str, Fate]:
    following = Following(settings, events)
    names = {event.data.asset_id: event.data.source.name for event in events}

    def on_silence() -> None:
        output.notes.print(f"nothing was told of them for {_SILENT_S:.0f} s: do the flows run? {tail.trouble}")

    with Progress(output.notes, names) as progress, suppress(KeyboardInterrupt):
        follow(tail, following, progress, on_silence, wait_s)
    if following.open:
        output.notes.print(f"{len(following.open)} have not ended yet; `status` tells how they go on", highlight=False)
    return following.fates


def follow(
    tail: KafkaTail,
    following: Following,
    on_event: Callable[[StatusChanged], None],
    on_silence: Callable[[], None],
    wait_s: float,
) -> None:
    """Listens until all have ended, at most so long. Raises RuntimeError for what cannot be read."""
    now = time.monotonic()
    until, look_up, silent = now + wait_s, now, now + _SILENT_S
    while following.open and (now := time.monotonic()) < until:
        if now >= look_up:
            following.look_up()
            look_up = time.monotonic() + _LOOK_UP_EVERY_S
        for event in following.hear(tail.pull(min(_SLICE_S, until - now))):
            on_event(event)
            silent = math.inf
            look_up = now if event.state == State.DUPLICATE else look_up
        if now >= silent:
            on_silence()
            silent = math.inf
