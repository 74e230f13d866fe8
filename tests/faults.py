"""What goes wrong in a worker, as functions that a worker can import."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from schemas.errors import AssetError

_CALLS: list[int] = []


def nothing() -> None:
    """The least task."""


def echo(value: Any) -> Any:
    return value


def pid() -> int:
    return os.getpid()


def calls_so_far() -> tuple[int, int]:
    """This process, and how often it was asked."""
    _CALLS.append(1)
    return os.getpid(), len(_CALLS)


def segmentation_fault() -> None:
    ctypes.string_at(0)


def signal_itself(number: int) -> None:
    os.kill(os.getpid(), number)


def leave(status: int) -> None:
    os._exit(status)


def raise_value_error() -> None:
    raise ValueError("/some/folder/of/ours/clip.mp4 is odd")


def hang_in_c() -> None:
    """Holds the interpreter's lock in C code for good."""
    ctypes.PyDLL(None).pause()


def sleep(seconds: float, started: Path | None = None) -> int:
    if started is not None:
        started.write_text(str(os.getpid()))
    time.sleep(seconds)
    return os.getpid()


def take_memory(size: int) -> int:
    return len(bytearray(size))


def take_memory_unseen(size: int) -> int:
    """As C code does that never looks at what malloc returned."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    return ctypes.memset(libc.malloc(ctypes.c_size_t(size)) or 0, 1, size) or 0


def burn_processor() -> None:
    while True:
        pass


def write(path: Path, size: int) -> int:
    with path.open("wb") as file:
        for _ in range(0, size, 2**16):
            file.write(bytes(2**16))
    return path.stat().st_size


def read(path: Path) -> bytes:
    return path.read_bytes()


def rename(source: Path, target: Path) -> None:
    source.rename(target)


def link(target: Path, path: Path) -> None:
    path.symlink_to(target)


def change_mode(path: Path) -> None:
    path.chmod(0o600)


def connect(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=2):
        pass


def open_unix_socket() -> None:
    socket.socket(socket.AF_UNIX).close()


def start_program() -> None:
    subprocess.run(["/bin/true"], check=True)


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def kill(number: int) -> None:
    os.kill(number, signal.SIGKILL)


def thread_works() -> int:
    """Threads are allowed, where processes are not."""
    seen: list[int] = []
    thread = threading.Thread(target=seen.append, args=(1,))
    thread.start()
    thread.join()
    return len(seen)


def environment() -> tuple[dict[str, str], bytes]:
    """The environment as Python and as the kernel show it."""
    return dict(os.environ), Path("/proc/self/environ").read_bytes()


def places() -> tuple[str, int]:
    """The working folder and the niceness."""
    return str(Path.cwd()), os.getpriority(os.PRIO_PROCESS, 0)


class _Code:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.path,))


def answer_with_code(path: str) -> Any:
    """A value that makes a folder where it is unpickled."""
    return _Code(path)


def raise_coded(code: str, detail: str) -> None:
    raise AssetError(code, detail)


def take_memory_slowly() -> int:
    pieces = []
    while True:
        pieces.append(bytearray(2**20))


def take_shared_memory(size: int) -> int:
    return len(mmap.mmap(-1, size))


def read_places(handle: Any, places: list[tuple[int, int]]) -> list[bytes]:
    """What two readers of a handle find at (offset, length), which take turns."""
    found, readers = [], (handle.open(), handle.open())
    for number, (offset, length) in enumerate(places):
        reader = readers[number % 2]
        reader.seek(offset)
        found.append(reader.read(length))
    return found


def read_path(path: Path) -> bytes:
    """A file's bytes by its path."""
    return path.read_bytes()


def ask_beyond(handle: Any) -> bytes:
    """Asks for bytes beyond a handle's file, as only code that was taken over does."""
    object.__setattr__(handle, "size", handle.size * 2)
    return bytes(handle.pread(100, handle.size - 200))
