"""System calls that the standard library does not wrap."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def checked(number: int, *arguments: Any) -> int:
    """The result of a system call. Integers are passed as 64-bit values. Raises OSError."""
    wide = (ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)
    return _returned(_LIBC.syscall(ctypes.c_long(number), *wide))


def _returned(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _returned(_LIBC.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero))


def no_new_privileges() -> None:
    """No set-uid program can raise this process's rights again; Landlock and seccomp ask for it."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def give_memory_back() -> None:
    """What this process frees goes back to the kernel, rather than wait in a heap for each of a hundred threads.

    Fewer heaps, and a block of 128 KiB or more is a mapping of its own; see mallopt(3).
    """
    _LIBC.mallopt(_M_ARENA_MAX, 2)
    _LIBC.mallopt(_M_MMAP_THRESHOLD, 128 * 1024)


def die_with_parent(parent: int) -> None:
    """The kernel kills this process when the thread that forked it, of the process `parent`, ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call above
        os.kill(os.getpid(), signal.SIGKILL)
