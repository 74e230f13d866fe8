"""Runs flows: each process alone on a folder of its own, recovered where the last one ended."""

from __future__ import annotations

import atexit
import fcntl
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path

from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main
from prometheus_client import REGISTRY

from dataflows import cluster, logs, recovery
from dataflows.checks import checks
from dataflows.health import Health, serve
from dataflows.readings import Readings
from dataflows.runtime import Runtime
from dataflows.submit import sent, submission_of
from dataflows.whole import whole
from operators.kernel import give_memory_back
from schemas.events import IngestEvent, StatusChanged
from schemas.settings import Settings
from sources.folder import Watcher, file_event

EPOCH = timedelta(seconds=1)
SCANS = 2
DAY_S = 86_400.0
_held = ExitStack()  # what a process that runs a flow has until it ends


class Busy(RuntimeError):
    """Another process works on this output folder."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds a folder for this process; the kernel frees it when the process dies. Raises Busy."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Busy(f"another process works on {folder}; wait for it, or use another --out") from error
        yield


def started(
    settings: Settings, name: str, store: Path | None, on_event: Callable[[StatusChanged], None] | None = None
) -> Runtime:
    """The running runtime, once what a killed process left unfinished is gone; only for one that is `alone`."""
    give_memory_back()
    shutil.rmtree(settings.process_folder(name) / "scratch", ignore_errors=True)
    runtime = Runtime(settings, name, store, on_event).start()
    alone_there = not settings.events and not settings.objects
    runtime.loop.run(runtime.store.sweep(older_s=0 if alone_there else DAY_S))
    runtime.drain_on_signals()
    return runtime


def run_flow(settings: Settings, on_event: Callable[[StatusChanged], None] | None = None) -> bool:
    """Runs until everything in the inbox has ended, or a signal asks it to drain; whether one did."""
    logs.configure(as_json=False)
    store = settings.process_folder("pipeline") / "recovery"
    with closing(started(settings, "pipeline", store, on_event)) as runtime, observed(runtime, store):
        flow = whole(runtime)
        cli_main(flow, epoch_interval=EPOCH, recovery_config=RecoveryConfig(str(store)))
        return runtime.gate.draining


def process(name: str) -> Runtime:
    """The runtime of a flow that `python -m bytewax.run` runs, with settings from the environment; it ends with it."""
    settings = Settings()
    store = recovery.given()
    if name in cluster.CLUSTERED:
        cluster.check(settings, store)
    atexit.register(_held.close)
    _held.enter_context(alone(settings.process_folder(name)))
    logs.configure(as_json=True, flow=name, process=settings.process)
    runtime = started(settings, name, store, logs.Journal())
    _held.callback(runtime.close)
    _held.enter_context(observed(runtime, store))
    return runtime


@contextmanager
def observed(runtime: Runtime, store: Path | None) -> Iterator[None]:
    """Health and metrics of a process over HTTP, where the settings say at which address. Raises OSError."""
    if not runtime.settings.http:
        yield
        return
    health = Health(runtime.gate.pulse, checks(runtime, store))
    server, readings = serve(runtime.settings.http, health), Readings(runtime, health, store)
    REGISTRY.register(readings)
    health.start()
    try:
        yield
    finally:
        health.close()
        server.shutdown()
        REGISTRY.unregister(readings)


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
