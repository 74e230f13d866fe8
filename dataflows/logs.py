"""Structured logs: JSON lines on stderr, of our own events and of libraries alike, without anybody's credentials."""

from __future__ import annotations

import logging
import re
import sys
import threading
from concurrent.futures import InvalidStateError
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from schemas.errors import BAD, State
from schemas.events import StatusChanged

_QUIETER = {"libav": logging.CRITICAL, "httpx": logging.WARNING}
# user information of a URL; and what signs one, or stands for a login: AWS, Google, Azure, Cloudflare, OAuth
_LOGIN = re.compile(r"(?<=://)[^/\s\"'@]*@")
_SIGNED = re.compile(
    r"([?&](?:x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|signature|sig|token|access_token"
    r"|key|api_?key|password|secret|policy|key-pair-id|verify)=)[^&\s\"'#]*",
    re.IGNORECASE,
)
_log = structlog.get_logger()


def redacted(text: str) -> str:
    """The text with URLs' credentials and signatures left out."""
    return _SIGNED.sub(r"\1***", _LOGIN.sub("***@", text))


def without_secrets(value: Any) -> Any:
    """The same of all texts in a value; what has no form in JSON is its text."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {name: without_secrets(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [without_secrets(inner) for inner in value]
    return value if isinstance(value, int | float | None) else redacted(str(value))


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return without_secrets(event)  # type: ignore[no-any-return]


def configure(as_json: bool, **always: Any) -> None:
    """Logs go to stderr, for people or as JSON, then also those of libraries and uncaught errors.

    `always` is in every line.
    """
    shared: list[Any] = [
        _always(always), structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info, _redact,
    ]  # fmt: skip
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[*shared, renderer], logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )  # fmt: skip
    for name, level in _QUIETER.items():
        logging.getLogger(name).setLevel(level)
    threading.excepthook = _uncaught_in_thread
    if as_json:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        ))  # fmt: skip
        logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
        sys.excepthook = _uncaught


def _always(more: dict[str, Any]) -> Any:
    """A processor; context variables would not reach the threads of libraries."""
    return lambda _logger, _method, event: {**more, **event}


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.critical("uncaught", exc_info=(kind, error, trace))


def _uncaught_in_thread(hook: threading.ExceptHookArgs) -> None:
    """A pool's thread whose task was cancelled just as it ended finds its future cancelled: nothing is amiss."""
    if hook.exc_type is InvalidStateError or hook.exc_value is None:
        return
    name = hook.thread.name if hook.thread else ""
    _log.error("uncaught", thread=name, exc_info=(hook.exc_type, hook.exc_value, hook.exc_traceback))


class Journal:
    """Logs what becomes of assets: a line for each stage's end and each attempt that is to be made again."""

    def __call__(self, event: StatusChanged) -> None:
        """Takes an event of a stage or a step."""
        if event.state == State.PROCESSING or (event.step and event.state not in BAD):
            return
        tell = _log.warning if event.state in BAD or event.state == State.PENDING else _log.info
        named = {"step": event.step, "code": event.code, "why": event.message}
        tell(
            "asset_retried" if event.state == State.PENDING else "stage_ended", asset_id=event.asset_id,
            job_id=event.job_id, stage=event.stage, state=event.state, seconds=event.duration_s,
            trace_id=event.traceparent[3:35], **{name: value for name, value in named.items() if value},
        )  # fmt: skip
