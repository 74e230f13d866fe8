"""Where work runs: whatever parses untrusted bytes in a process of its own, models in processes that stay.

A task's process is a fork of a server that has the heavy modules loaded, closed in for that one task
(`sandbox`), and ends with it. Lanes bound how many run at once, so that small work is never behind large
work. All awaiting is done on one event loop; cancelling an await ends the process.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import os
import signal
import threading
from asyncio import Future as AsyncFuture
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pebble import ProcessExpired, ProcessPool
from pebble.concurrent import process

from operators import sandbox, worker
from operators.lanes import Lane, LaneState, Slots
from operators.results import Context, RefusedResult
from operators.sandbox import TaskLimits
from schemas import metrics
from schemas.errors import AssetError

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)

MODELS = "models"
_CONTEXT = Context()
_HEAVY = ("numpy", "av", "PIL.Image", "pebble", "operators.worker")


@dataclass(frozen=True)
class Models:
    """The processes that stay: how many, their memory, and weights that lie outside installed packages.

    `scratch` is a folder for temporary files, without which some libraries do not load.
    """

    workers: int = 1
    nice: int = 0
    memory_bytes: int = 4 * 2**30
    read: tuple[Path, ...] = ()
    scratch: Path | None = None


@dataclass
class _Model:
    """One process that stays: a pebble pool of one, since in a larger one a crash can fail all that waits."""

    settings: Models
    _pool: ProcessPool | None = None

    def ask(self, fn: Callable[..., Any], args: tuple[Any, ...], timeout_s: float) -> Future[Any]:
        """Sends the call; pebble gives a pool up if its process dies idle, and then a new one takes it."""
        if self._pool is None or not self._pool.active:
            self.stop()
            self._pool = self._started()
        return self._pool.schedule(worker.guarded, (fn, *args), timeout=timeout_s)

    def _started(self) -> ProcessPool:
        models = self.settings
        limits = TaskLimits(cpu_s=None, memory_bytes=models.memory_bytes)
        settled = (limits, models.read, models.scratch, models.nice)
        return ProcessPool(1, initializer=worker.enter, initargs=settled, context=_CONTEXT)

    def stop(self) -> None:
        """Ends the process and what it does; returns once it is gone."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()
            pool.join()


class Pools:
    """Lanes of one-task processes, and model processes that stay.

    `preload` names modules that tasks use: the fork server imports them once. It lives as long as this
    program; the first `start` decides what it has loaded.
    """

    def __init__(
        self,
        lanes: Mapping[str, Lane],
        models: Models | None = None,
        *,
        preload: Sequence[str] = (),
        require_sandbox: bool = True,
    ) -> None:
        self._slots = {name: Slots(lane.workers, lane.nice) for name, lane in lanes.items()}
        models = models or Models()
        self._models = [_Model(models) for _ in range(models.workers)]
        self._idle_models = list(self._models)
        self._model_slots = Slots(models.workers, models.nice)
        self._preload, self._require = tuple(preload), require_sandbox
        # Starting a process waits for the fork server: some milliseconds, and its imports the first time.
        self._starter = ThreadPoolExecutor(1, "start-process")
        self._running: dict[str, Future[Future[Any]]] = {}
        self._names = itertools.count()

    def start(self) -> None:
        """Starts the fork server. Raises RuntimeError where a sandbox is required and the kernel has none."""
        if not sandbox.complete():
            lacks = f"this kernel lacks a part of the sandbox: {sandbox.available()}"
            if self._require:
                raise RuntimeError(f"{lacks}; set require_sandbox to false to work without")
            log.warning("%s; untrusted files are parsed without it", lacks)
        multiprocessing.set_forkserver_preload(["operators.preload", *_HEAVY, *self._preload])
        forkserver.ensure_running()

    def lanes(self) -> dict[str, LaneState]:
        """What goes on in each lane, and in the processes of the models."""
        return {name: slots.state() for name, slots in [*self._slots.items(), (MODELS, self._model_slots)]}

    def turn(self, lane: str) -> int:
        """A place in the order of a lane, for a `run` that is to come."""
        return self._slots[lane].turn()

    async def run(
        self,
        lane: str,
        fn: Callable[..., T],
        *args: Any,
        limits: TaskLimits | None = None,
        read: Sequence[Path] = (),
        scratch: Path | None = None,
        priority: float = 0.0,
        turn: int | None = None,
    ) -> T:
        """`fn(*args)` in a new process that may read `read`, and write in `scratch`, where it starts.

        `fn` is importable by name; arguments pickle, and the value is one that `results` lets through. A
        higher priority starts earlier within the lane, of equal ones the lower `turn`. Raises AssetError: the
        function's own, `decoder_timeout` (wall or processor time), `decoder_memory`, `decoder_crashed`,
        `scratch_full`, or `internal` for any other exception. Once this returns or raises the process is gone.
        """
        slots = self._slots[lane]
        async with slots.hold(priority, turn):
            task = worker.Task(fn, args, limits or TaskLimits(), tuple(read), scratch, slots.nice)
            with _counted(lane):
                return await self._once(task, f"task-{os.getpid()}-{next(self._names)}")

    async def _once(self, task: worker.Task, name: str) -> Any:
        starting = self._running[name] = self._starter.submit(_begin, task, name)
        try:
            return await _outcome(starting, task.limits.wall_s)
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.to_thread(_end, starting, name))
            raise
        finally:
            self._running.pop(name, None)

    async def call(self, fn: Callable[..., T], *args: Any, timeout_s: float, priority: float = 0.0) -> T:
        """`fn(*args)` in a model process, which keeps its modules' state, above all loaded models.

        It can read installed packages and `Models.read`, `fn`'s module among them, and write in
        `Models.scratch`. The time counts from the call's start, not from its wait for a free process. Raises
        as `run` does; a process that ended is replaced.
        """
        async with self._model_slots.hold(priority):
            model = self._idle_models.pop()
            try:
                with _counted(MODELS):
                    return await self._ask(model, fn, args, timeout_s)
            finally:
                self._idle_models.append(model)

    async def _ask(self, model: _Model, fn: Any, args: tuple[Any, ...], timeout_s: float) -> Any:
        starting = self._starter.submit(model.ask, fn, args, timeout_s)
        try:
            return await _outcome(starting, timeout_s)
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.to_thread(_end_call, starting, model))
            raise

    def close(self) -> None:
        """Ends all processes, and with them what still awaits them. The fork server ends with the program."""
        for name, starting in list(self._running.items()):
            _end(starting, name)
        self._starter.shutdown(cancel_futures=True)
        for model in self._models:
            model.stop()


@contextmanager
def _counted(lane: str) -> Iterator[None]:
    """Counts a task by its end: ok, cancelled, or an error's code."""
    code = "internal"
    try:
        yield
        code = "ok"
    except AssetError as error:
        code = error.code
        raise
    except asyncio.CancelledError:
        code = "cancelled"
        raise
    finally:
        metrics.TASKS.labels(lane, code).inc()


def _begin(task: worker.Task, name: str) -> Future[Any]:
    """Starts the process; pebble's thread that watches it has the same name."""
    options: dict[str, Any] = {"name": name, "timeout": task.limits.wall_s, "context": _CONTEXT}
    begin: Callable[..., Future[Any]] = process(**options)(worker.run)
    return begin(task)


async def _outcome(starting: Future[Future[Any]], wall_s: float) -> Any:
    try:
        started: AsyncFuture[Future[Any]] = asyncio.wrap_future(starting)
        return await asyncio.wrap_future(await asyncio.shield(started))
    except (ProcessExpired, TimeoutError, BrokenProcessPool) as error:
        raise _how_it_ended(error, wall_s) from error
    except RefusedResult as error:
        raise AssetError("internal", str(error)) from error


def _end(starting: Future[Future[Any]], name: str = "") -> None:
    """Ends a process however far its start has come; with a name, returns once it is gone."""
    if starting.cancel() or starting.exception() is not None:
        return
    starting.result().cancel()
    for watcher in threading.enumerate():
        if name and watcher.name == name:
            watcher.join()


def _end_call(starting: Future[Future[Any]], model: _Model) -> None:
    _end(starting)
    model.stop()


def _how_it_ended(error: Exception, wall_s: float) -> AssetError:
    if isinstance(error, TimeoutError):
        return AssetError("decoder_timeout", f"more than {wall_s:g} s")
    status = getattr(error, "exitcode", None)
    if status == -signal.SIGXCPU:
        return AssetError("decoder_timeout", "more processor time than allowed")
    return AssetError("decoder_crashed", _exit_text(status))


def _exit_text(status: int | None) -> str:
    if status is None:
        return "the process ended"
    if status >= 0:
        return f"the process ended with status {status}"
    text = f"the process ended by {signal.Signals(-status).name}"
    return f"{text}, as the kernel does when memory runs out" if status == -signal.SIGKILL else text
