"""Failures told to Sentry, where a DSN says where: each once, grouped by code and stage, with no personal data."""

from __future__ import annotations

import re
from concurrent.futures import InvalidStateError
from importlib.metadata import version
from typing import Any
from uuid import UUID

import sentry_sdk
from sentry_sdk.integrations.excepthook import ExcepthookIntegration
from sentry_sdk.integrations.threading import ThreadingIntegration
from sentry_sdk.types import Event, Hint

from dataflows.logs import without_secrets
from operators.stages.dead_letter import subject_of
from schemas import ids
from schemas.errors import State
from schemas.outcome import Failed

CLOSE_S = 5
_FRAME = re.compile(r' +File "|    |[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Expired)(:|$)|Traceback ')


def start(dsn: str, flow: str, process: int) -> None:
    """Begins to tell, of uncaught errors too; nothing of the machine or its user goes with it.

    Raises sentry_sdk.utils.BadDsn.
    """
    # not those that make an event of each error that is logged, or that look at the machine
    kept = [ExcepthookIntegration(), ThreadingIntegration()]
    sentry_sdk.init(
        dsn=dsn, release=f"asset-pipeline@{version('asset-pipeline')}", server_name=f"{flow}-{process}",
        before_send=_without_secrets, ignore_errors=[InvalidStateError], auto_session_tracking=False,
        default_integrations=False, integrations=kept, send_default_pii=False, include_local_variables=False,
        max_breadcrumbs=0, send_client_reports=False,
    )  # fmt: skip
    sentry_sdk.set_tag("flow", flow)


def close() -> None:
    """Sends what is left, if Sentry takes it soon: the command ends without what is done at a process's exit."""
    sentry_sdk.flush(CLOSE_S)


def tell(failed: Failed[Any]) -> None:
    """A stage has given an item up. A rejection is an answer to the producer and no failure of ours.

    The same failure has the same event id, by which Sentry knows it when it comes again after a crash.
    """
    if failed.state != State.FAILED:
        return
    about, last = subject_of(failed.item), failed.attempts[-1]
    unique = ids.event_id("failure", about.job_id, about.generation, failed.stage)
    sentry_sdk.capture_event({
        "event_id": UUID(unique).hex, "level": "error", "message": f"{failed.stage}: {failed.code}",
        "fingerprint": [failed.code, failed.stage],
        "extra": {"frames": frames(last.traceback), "attempts": last.number},
        "tags": {
            "code": failed.code, "stage": failed.stage, "step": last.step or "none", "asset": about.asset_id,
            "trace": about.traceparent[3:35],
        },
    })  # fmt: skip


def frames(traceback: str) -> str:
    """A traceback without what its errors say, which may name files and people."""
    lines = [line for line in traceback.splitlines() if line.strip()]
    return "\n".join(line if line[0] == " " else line.partition(":")[0] for line in lines if _FRAME.match(line))


def _without_secrets(event: Event, _hint: Hint) -> Event:
    return without_secrets(event)  # type: ignore[no-any-return]
