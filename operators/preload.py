"""Imported by the fork server alone, before all else: makes a server whose forks can be closed in.

A fork of it carries what it carries, so it starts without the flow's environment: that would stay readable in
/proc/self/environ, whatever a worker did to its `os.environ`.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import spawn

# No secrets, and what makes forks small: one BLAS thread in the server, few heaps in a worker.
_KEPT = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "TZ")
_SET = {
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "4",
    # pictures of one size come and go: memory that is given back each time is faulted in again, 3 % of an encode
    "MALLOC_MMAP_THRESHOLD_": str(64 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}


def clean_environment() -> dict[str, str]:
    """The environment of fork server and workers."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | _SET


def _is_server() -> bool:
    return sys.orig_argv[-2:-1] == ["-c"] and "multiprocessing.forkserver" in sys.orig_argv[-1]


def _import_no_main(_: str) -> None:
    """Instead of importing the flow's main module, and with it the whole flow, before every task."""


SERVER = os.getpid()  # in the server and its forks: the server's pid

if _is_server():
    if dict(os.environ) != clean_environment():
        os.execve(sys.executable, sys.orig_argv, clean_environment())
    for _name in ("_fixup_main_from_name", "_fixup_main_from_path"):
        setattr(spawn, _name, _import_no_main)
