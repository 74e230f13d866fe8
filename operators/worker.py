"""The far side of the pools: what a worker process does before, around and after the work."""

from __future__ import annotations

import gc
import os
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import EDQUOT, EFBIG, ENOMEM, ENOSPC
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from operators import kernel, preload, sandbox
from operators.sandbox import TaskLimits
from schemas.errors import AssetError

_OUT_OF_MEMORY_TEXTS = ("bad_alloc", "bad allocation", "Failed to allocate memory", "Cannot allocate memory")


@dataclass(frozen=True)
class Task:
    """A call and what it may touch; `fn` is importable by name."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    limits: TaskLimits
    read: tuple[Path, ...] = ()
    scratch: Path | None = None
    nice: int = 0


def run(task: Task) -> Any:
    """Closes this process in, then does the task; for a process that ends with it. Raises AssetError only."""
    enter(task.limits, task.read, task.scratch, task.nice)
    return guarded(task.fn, *task.args)


def enter(limits: TaskLimits, read: Sequence[Path], scratch: Path | None, nice: int) -> None:
    """Ties this process to the flow's life and closes it in; model processes do so before their calls."""
    _end_with_flow()
    gc.freeze()  # a collection would write to, and so copy, every page shared with the fork server
    os.nice(nice)
    os.dup2(2, 1)  # standard output is the command line's
    os.chdir(scratch or "/")
    os.environ["SVT_LOG"] = "1"  # SVT-AV1 writes its settings to standard error, unless told to write errors alone
    os.environ["TMPDIR"] = os.environ["HOME"] = str(scratch or "/nonexistent")
    sandbox.limit(limits)
    sandbox.confine(read, scratch)


def _end_with_flow() -> None:
    """Lets go of the fork server's pipe: it ends when nobody holds that, and the kernel then ends its forks.

    Every fork inherits an end of it, so the server and its forks would outlive a flow that is killed.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # C code that hangs never comes to a handler in Python
    alive = forkserver._forkserver._forkserver_alive_fd  # type: ignore[attr-defined]
    if alive is not None:
        os.close(alive)
        forkserver._forkserver._forkserver_alive_fd = None  # type: ignore[attr-defined]
    if os.getpid() == preload.SERVER:
        raise RuntimeError("the fork server did not load operators.preload")
    kernel.die_with_parent(preload.SERVER)


def guarded(fn: Callable[..., Any], *args: Any) -> Any:
    """The call's value; any error becomes an AssetError, which pickles."""
    try:
        return fn(*args)
    except AssetError:
        raise
    except BaseException as error:
        raise _coded(error) from error


def _without_folders(text: str) -> str:
    return re.sub(r"(?<![\w:/])/(?:[^/\s'\"]+/)+", "", text)


def _coded(error: BaseException) -> AssetError:
    text = f"{type(error).__name__}: {_without_folders(str(error))}"[:500]
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == ENOMEM:
        return AssetError("decoder_memory", text)
    if isinstance(error, OSError) and error.errno in (EFBIG, ENOSPC, EDQUOT):
        return AssetError("scratch_full", text)
    if any(sign in text for sign in _OUT_OF_MEMORY_TEXTS):
        return AssetError("decoder_memory", text)
    return AssetError("internal", text)
