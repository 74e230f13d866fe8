"""Sources as streams of bytes: files of an input folder, and URLs."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from schemas.asset import Source
from schemas.errors import AssetError
from schemas.ports import Parts
from sources import urls
from sources.urls import FetchPolicy, Validator, open_url, validator_of

__all__ = ["FetchPolicy", "Validator", "descriptor_of", "open_source", "parts_of", "validator_of"]

BLOCK = 2**20


async def open_source(source: Source, limit: int, policy: FetchPolicy) -> AsyncGenerator[bytes, None]:
    """The source's bytes, at most `limit`; the caller compares their digest with `source.sha256`.

    Raises source_missing, source_changed, path_outside_input, too_large, url_scheme; for URLs also
    url_forbidden_address, url_redirects, url_status, url_unreachable, url_timeout. A file that grew or was
    replaced is seen only at the end: nothing may be kept of a stream that raised.
    """
    local = source.uri.startswith("file:") and policy.files
    async with aclosing(_file(source, limit) if local else open_url(source, limit, policy)) as chunks:
        async for chunk in chunks:
            yield chunk


def descriptor_of(source: Source, policy: FetchPolicy) -> int | None:
    """A descriptor to read a local file by, None for other sources. Raises source_missing, path_outside_input."""
    return _opened(_path_of(source), source.root) if source.uri.startswith("file:") and policy.files else None


async def parts_of(source: Source, limit: int, policy: FetchPolicy) -> Parts | None:
    """What reads a URL's file by ranges, None for files. Raises as `urls.parts_of`."""
    return None if source.uri.startswith("file:") else await urls.parts_of(source, limit, policy)


def _path_of(source: Source) -> str:
    return os.fsdecode(unquote_to_bytes(urlsplit(source.uri).path))


async def _file(source: Source, limit: int) -> AsyncGenerator[bytes, None]:
    path = _path_of(source)
    with os.fdopen(await asyncio.to_thread(_opened, path, source.root), "rb", buffering=0) as file:
        before, size = _state(os.fstat(file.fileno())), 0
        if before.size > limit:
            raise AssetError("too_large", f"{before.size} bytes, the limit is {limit}")
        while block := await asyncio.to_thread(file.read, BLOCK):
            size += len(block)
            if size > before.size:
                raise AssetError("source_changed", "it grew")
            yield block
        same = before == _state(os.fstat(file.fileno())) == _state_at(path)
        if not same or size != before.size:
            raise AssetError("source_changed", f"{size} of {before.size} bytes read")


class _State(NamedTuple):
    device: int
    inode: int
    size: int
    mtime_ns: int


def _state(status: os.stat_result) -> _State:
    return _State(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _state_at(path: str) -> _State | None:
    try:
        return _state(Path(path).stat())
    except OSError:
        return None


def _opened(path: str, root: str) -> int:
    """A descriptor of a regular file within the root.

    O_PATH names a file without touching a device or waiting for a pipe's writer; what was checked is then
    opened through that descriptor, so that no link can be swapped in between.
    """
    try:
        probe = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise AssetError("source_missing", getattr(error, "strerror", None) or "not a path") from error
    try:
        itself = Path(f"/proc/self/fd/{probe}")
        if root and not itself.readlink().is_relative_to(Path(root).resolve()):
            raise AssetError("path_outside_input")
        if not stat.S_ISREG(os.fstat(probe).st_mode):
            raise AssetError("source_missing", "not a regular file")
        return os.open(itself, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise AssetError("source_missing", error.strerror or "") from error
    finally:
        os.close(probe)
