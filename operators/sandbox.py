"""What a worker may touch: its input, its scratch folder and the program's own files; no network.

Three parts, all without privileges and all irreversible: resource limits (setrlimit), Landlock for files
(Linux 5.13; network 6.7, signals 6.12; `Documentation/userspace-api/landlock.rst`) and seccomp for system
calls.
"""

from __future__ import annotations

import ctypes
import os
import resource
import stat
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import operators
import schemas
from operators import kernel, seccomp

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1

# Rights on files by bit; a version of Landlock knows the first so many of them.
_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REGULAR, _REFER, _TRUNCATE = 1 << 7, 1 << 8, 1 << 13, 1 << 14
_RIGHTS_OF_VERSION = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_READ = _READ_FILE | _READ_DIR
# No links, sockets, pipes or devices: nothing in a scratch folder can lead its reader elsewhere.
_WRITE = _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REGULAR | _REFER | _TRUNCATE
_EXECUTE, _MAKE_SOCKET, _MAKE_PIPE, _MAKE_LINK = 1 << 0, 1 << 9, 1 << 10, 1 << 12
_OF_FILES = _READ_FILE | _WRITE_FILE | _TRUNCATE | _EXECUTE
_NETWORK = 0b11  # bind and connect TCP, since version 4
_SCOPES = 0b11  # abstract Unix sockets and signals, since version 6

# Fonts are for documents that embed none; the rest is what numeric libraries ask about the machine.
_SYSTEM = (
    *(
        "/lib",
        "/lib32",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/etc/ld.so.cache",
        "/nix/store",
    ),
    *("/usr/share/zoneinfo", "/etc/localtime", "/usr/share/fonts", "/usr/local/share/fonts", "/etc/fonts"),
    *("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm/overcommit_memory"),
    *(
        "/sys/devices/system/cpu",
        "/sys/devices/system/node",
        "/sys/bus/pci/devices",
        "/dev/urandom",
        "/dev/random",
        "/dev/zero",
    ),
)
# where programs of the system lie
_PROGRAMS = (
    *("/bin", "/usr/bin", "/usr/share", "/etc/passwd", "/etc/nsswitch.conf"),
    *("/etc/libreoffice", "/var/lib/libreoffice", "/var/spool/libreoffice", "/var/cache/fontconfig"),
)


@dataclass(frozen=True)
class TaskLimits:
    """What one task may use; memory is private writable memory (RLIMIT_DATA), the size that of each file."""

    wall_s: float = 1800
    cpu_s: int | None = 3600
    memory_bytes: int = 3 * 2**30
    file_bytes: int = 32 * 2**30


class _Ruleset(ctypes.Structure):
    """struct landlock_ruleset_attr."""

    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("folder", ctypes.c_int32))


@cache
def available() -> dict[str, Any]:
    """What this kernel offers: Landlock's version (0 for none), what that version guards, and seccomp."""
    try:
        version = kernel.checked(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        version = 0
    return {
        "landlock": version,
        "files": version >= 1,
        "network": version >= 4,
        "signals": version >= 6,
        "seccomp": seccomp.available(),
    }


def complete() -> bool:
    """Whether files and system calls are both guarded, which every later part only doubles."""
    return bool(available()["files"] and available()["seccomp"])


def limit(limits: TaskLimits) -> None:
    """Sets this process's limits for good: SIGXCPU ends it after `cpu_s`, too large a write is EFBIG."""
    _lower(resource.RLIMIT_CORE, 0)
    if limits.cpu_s is not None:
        _lower(resource.RLIMIT_CPU, limits.cpu_s, hard=limits.cpu_s + 5)
    _lower(resource.RLIMIT_FSIZE, limits.file_bytes)
    _lower(resource.RLIMIT_DATA, limits.memory_bytes)
    # RLIMIT_DATA misses shared mappings; the address space has them, and much that is only reserved.
    _lower(resource.RLIMIT_AS, 4 * limits.memory_bytes + 2**32)


def _lower(which: int, soft: int, hard: int | None = None) -> None:
    """Sets a limit, kept within the hard one that this process has already."""
    now = resource.getrlimit(which)[1]
    hard = soft if hard is None else hard
    if now != resource.RLIM_INFINITY:
        hard = min(hard, now)
    resource.setrlimit(which, (min(soft, hard), hard))


def confine(read: Sequence[Path] = (), scratch: Path | None = None) -> None:
    """Closes this process in, with all that the kernel offers; a missing path is left out. Raises OSError."""
    kernel.no_new_privileges()
    rules = [*((path, _READ) for path in (*program_files(), *map(str, read))), ("/dev/null", _READ | _WRITE_FILE)]
    if scratch is not None:
        rules.append((str(scratch), _WRITE))
    if available()["files"]:
        _landlock(available()["landlock"], rules)
    if available()["seccomp"]:
        seccomp.confine()


def enclose(programs: Sequence[Path], home: Path, out: Path) -> None:
    """The same for a program of the system that is about to be run: it may start others below `programs`.

    It works in `home`, with links, pipes and Unix sockets as it likes, and leaves plain files in `out`.
    """
    kernel.no_new_privileges()
    rules = [(path, _READ | _EXECUTE) for path in (*_SYSTEM, *_PROGRAMS, *map(str, programs))]
    rules += [("/dev/null", _READ | _WRITE_FILE), (str(out), _WRITE)]
    rules.append((str(home), _WRITE | _MAKE_SOCKET | _MAKE_PIPE | _MAKE_LINK))
    if available()["files"]:
        _landlock(available()["landlock"], rules)
    if available()["seccomp"]:
        seccomp.confine(programs=True)


def _landlock(version: int, rules: Iterable[tuple[str, int]]) -> None:
    known = (1 << _RIGHTS_OF_VERSION.get(version, 16)) - 1
    size = 8 if version < 4 else 16 if version < 6 else 24
    attributes = _Ruleset(known, _NETWORK, _SCOPES)
    ruleset = kernel.checked(_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & known)
        kernel.checked(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        own = rights if stat.S_ISDIR(os.fstat(folder).st_mode) else rights & _OF_FILES
        rule = _Beneath(own, folder)
        kernel.checked(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(folder)


@cache
def program_files() -> tuple[str, ...]:
    """The interpreter's library, installed packages, our own packages and the system's libraries; no more.

    Not the folders of `sys.path` as such: a checkout also holds media, outputs and settings.
    """
    python = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    python |= {str(Path(sys.base_prefix) / "lib")} if sys.base_prefix not in ("/", "/usr") else set()
    own = (str(Path(p).resolve()) for package in (operators, schemas) for p in package.__path__)
    return (*sorted(python), *own, *_SYSTEM)
