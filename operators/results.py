"""What a worker may answer: values of known types, read with a bound on size and time.

Python's pickle runs what the sender names. A decoder that was taken over would leave its sandbox through
the first answer that the flow unpickles, so the flow's end of the pipe builds plain values, numpy arrays
and our own records, and refuses all else.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import pickle
import time
from collections.abc import Callable
from io import BytesIO
from multiprocessing import reduction
from multiprocessing.connection import Connection, reduce_connection  # type: ignore[attr-defined]
from multiprocessing.context import ForkServerContext
from typing import Any

from pebble.common import Result, ResultStatus
from pebble.pool.process import Acknowledgement, TaskProblem, TaskResult
from pydantic import BaseModel

_LARGEST = 2**30
_MESSAGE_S = 60.0
_OURS = ("operators", "schemas")

_PLAIN: dict[str, frozenset[str]] = {
    "builtins": frozenset({"bytearray", "complex", "frozenset", "range", "set", "slice"}),
    "collections": frozenset({"OrderedDict", "deque"}),
    "datetime": frozenset({"date", "datetime", "time", "timedelta", "timezone"}),
    "decimal": frozenset({"Decimal"}),
    "fractions": frozenset({"Fraction"}),
    "pathlib": frozenset({"Path", "PosixPath", "PurePath", "PurePosixPath"}),
    "uuid": frozenset({"UUID"}),
    "numpy": frozenset({"dtype", "ndarray"}),
    "numpy._core.multiarray": frozenset({"_reconstruct", "scalar"}),
    "numpy._core.numeric": frozenset({"_frombuffer"}),
    "pebble.common.types": frozenset({"RemoteException.rebuild_exception", "Result", "ResultStatus"}),
    "pebble.pool.process": frozenset({"Acknowledgement", "TaskProblem", "TaskResult"}),
}


class RefusedResult(pickle.PicklingError):
    """A worker answered with something that is not a plain value."""


class _Values(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _PLAIN.get(module, ()):
            return super().find_class(module, name)
        if module.partition(".")[0] in _OURS and "." not in name:
            found = super().find_class(module, name)
            if _is_record(found, module):
                return found
        raise RefusedResult(f"a worker may not answer with {module}.{name}")


def _is_record(found: Any, module: str) -> bool:
    """Whether it is a class of values, defined in that module of ours."""
    if not isinstance(found, type) or found.__module__ != module:
        return False
    named_tuple = issubclass(found, tuple) and hasattr(found, "_fields")
    values = issubclass(found, (BaseModel, enum.Enum, Exception))
    return named_tuple or values or dataclasses.is_dataclass(found)


def loads(data: bytes | memoryview) -> Any:
    """The value that pickled bytes stand for. Raises RefusedResult for a type not listed above."""
    try:
        return _Values(BytesIO(data)).load()
    except RefusedResult:
        raise
    except Exception as error:
        raise RefusedResult(f"not a readable answer: {type(error).__name__}") from error


def _checked(message: Any) -> Any:
    """The message, if its shape is one of pebble's. Raises RefusedResult."""
    if isinstance(message, Acknowledgement):
        return message
    if isinstance(message, TaskProblem) and isinstance(message.error, Exception):
        return message
    result = message.result if isinstance(message, TaskResult) else message
    if isinstance(result, Result):
        succeeded = result.status == ResultStatus.SUCCESS
        if succeeded or isinstance(result.value, Exception):
            return message
    raise RefusedResult("an answer of a wrong shape")


class _Reader(Connection):
    """The flow's end of a worker's pipe. A message that is too large, or stalls, is an OSError."""

    _until = 0.0

    def recv(self) -> Any:
        self._until = time.monotonic() + _MESSAGE_S
        return _checked(loads(self.recv_bytes(_LARGEST)))

    def _recv(self, size: int, read: Callable[[int, int], bytes] = os.read) -> BytesIO:
        buffer = BytesIO()
        while (left := size - buffer.tell()) > 0:
            if not self.poll(max(0.0, self._until - time.monotonic())):
                raise OSError("a worker's answer stalled")
            chunk = read(self.fileno(), min(left, 2**20))
            if not chunk:
                raise EOFError("a worker's answer broke off")
            buffer.write(chunk)
        return buffer


# In another process it is a plain connection (pebble hands workers all ends, to close what they don't use).
reduction.register(_Reader, reduce_connection)


class Context(ForkServerContext):
    """multiprocessing's forkserver, with pipes that read values only."""

    def Pipe(self, duplex: bool = False) -> tuple[Connection, Connection]:  # type: ignore[override]
        """A reader of values, and a writer. Only for one way: what workers get to read, they may trust."""
        if duplex:
            raise ValueError("one way only")
        reader, writer = super().Pipe(duplex=False)
        handle = os.dup(reader.fileno())
        reader.close()
        return _Reader(handle, writable=False), writer
