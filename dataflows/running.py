"""Runs the whole flow embedded: one process at a time on an output folder, recovered where the last one ended."""

from __future__ import annotations

import fcntl
import logging
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import InvalidStateError
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import structlog
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from dataflows.runtime import Runtime
from dataflows.submit import sent, submission_of
from dataflows.wiring import build
from schemas.events import IngestEvent, StatusChanged
from schemas.settings import Settings
from sources.folder import Watcher, file_event

EPOCH = timedelta(seconds=1)
SCANS = 2


class Busy(RuntimeError):
    """Another process works on this output folder."""


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Holds the output folder for this process; the kernel frees it when the process dies. Raises Busy."""
    path = settings.below(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Busy(f"another process works on {settings.out}; wait for it, or use another --out") from error
        yield


def recovery_of(settings: Settings) -> RecoveryConfig:
    """The recovery store, made at the first run."""
    folder = settings.below("recovery")
    if not any(folder.glob("part-*.sqlite3")):
        folder.mkdir(parents=True, exist_ok=True)
        init_db_dir(folder, 1)
    return RecoveryConfig(str(folder))


def quiet() -> None:
    """Logs to stderr, without what libraries say of every file."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    for name, level in {"libav": logging.CRITICAL, "httpx": logging.WARNING}.items():
        logging.getLogger(name).setLevel(level)
    threading.excepthook = _but_cancelled


def _but_cancelled(error: threading.ExceptHookArgs) -> None:
    """A pool's thread whose task was cancelled just as it ended finds its future cancelled: nothing is amiss."""
    if error.exc_type is not InvalidStateError:
        threading.__excepthook__(error)


def started(settings: Settings, on_event: Callable[[StatusChanged], None] | None = None) -> Runtime:
    """The running runtime, once what a killed process left unfinished is gone; only for one that is `alone`."""
    shutil.rmtree(settings.below("scratch"), ignore_errors=True)
    runtime = Runtime(settings, on_event).start()
    runtime.loop.run(runtime.store.sweep(older_s=0))
    runtime.drain_on_signals()
    return runtime


def run_flow(settings: Settings, on_event: Callable[[StatusChanged], None] | None = None) -> bool:
    """Runs until everything in the inbox has ended, or a signal asks it to drain; whether one did."""
    quiet()
    with closing(started(settings, on_event)) as runtime:
        cli_main(build(runtime), epoch_interval=EPOCH, recovery_config=recovery_of(settings))
        return runtime.gate.draining


@contextmanager
def watching(settings: Settings, folders: list[Path], on_new: Callable[[IngestEvent], None]) -> Iterator[None]:
    """Submits files of these folders as they become stable, on a thread of its own, until the context ends."""
    stop = threading.Event()
    thread = threading.Thread(target=_watch, args=(settings, folders, on_new, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _watch(
    settings: Settings, folders: list[Path], on_new: Callable[[IngestEvent], None], stop: threading.Event
) -> None:
    submission = submission_of(settings)
    watchers = [Watcher(folder, submission.wanted, settle=SCANS + 1) for folder in folders]
    while not stop.wait(settings.settle_s / SCANS):
        found = [file_event(path, w.root, submission) for w in watchers for path in w.scan()]
        for event in found:
            on_new(event)
        if found:
            sent(settings, found)
