"""What every object store does alike, by obstore: small records that the first writer wins, and look-ups by key.

Keys: `objects/{tenant}/{sha[:2]}/{sha}`, `tmp/…` for what is still being written, and whatever keys callers
choose for records.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from schemas.errors import AssetError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

OBJECTS, TEMPORARY = "objects", "tmp"

_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMPONENT = re.compile(r"(?!\.)[A-Za-z0-9._=@+:-]{1,200}")
_NAMED_CAUSE = re.compile(r"<Code>(\w+)</Code>|kind: (\w+)")


class Records:
    """Records, and the look-ups that objects share with them. `base` is what the URLs of objects begin with."""

    def __init__(self, store: ObjectStore, base: str) -> None:
        self._store, self._base = store, base.removesuffix("/")

    async def create(self, key: str, data: bytes) -> bytes:
        """Creates a record only if absent, and returns the one that stands: the first."""
        record_key(key)
        for _ in range(8):
            with store_errors("create"), suppress(AlreadyExistsError):
                await obstore.put_async(self._store, key, data, mode="create", use_multipart=False)
                return data
            if (standing := await self._get(key)) is not None:
                return standing
        raise AssetError("store_unavailable", "a record was created and deleted again and again")

    async def get(self, key: str) -> bytes | None:
        """The record, or None."""
        return await self._get(record_key(key))

    async def keys(self, prefix: str) -> list[str]:
        """Keys of the records below a prefix (a whole path component, with or without its slash), sorted."""
        found: list[str] = []
        with store_errors("list"):
            async for batch in obstore.list(self._store, prefix=record_key(prefix.rstrip("/"))):
                found += [meta["path"] for meta in batch]
        return sorted(found)

    async def delete(self, key: str) -> None:
        """Deletes a record; one that is not there is no error."""
        await self._drop(record_key(key))

    async def read(self, tenant: str, sha256: str) -> bytes:
        """The object's bytes. Raises object_missing, object_damaged."""
        data = await self._get(object_key(tenant, sha256))
        if data is None:
            raise AssetError("object_missing", sha256)
        if (await asyncio.to_thread(hashlib.sha256, data)).hexdigest() != sha256:
            raise AssetError("object_damaged", sha256)
        return data

    async def exists(self, tenant: str, sha256: str) -> bool:
        """Whether the object is there."""
        return await self.size(tenant, sha256) is not None

    async def size(self, tenant: str, sha256: str) -> int | None:
        """The object's size in bytes, None if it is not there."""
        with store_errors("look up"), suppress(FileNotFoundError):
            return int((await obstore.head_async(self._store, object_key(tenant, sha256)))["size"])
        return None

    async def remove(self, tenant: str, sha256: str) -> None:
        """Removes an object; one that is not there is no error."""
        await self._drop(object_key(tenant, sha256))

    def url(self, tenant: str, sha256: str) -> str:
        """The object's stable URL: the public base and the key."""
        return f"{self._base}/{object_key(tenant, sha256)}"

    async def _staged(self, older_s: float) -> list[str]:
        """Keys of what has been `tmp/…` for more than `older_s` seconds."""
        before, keys = time.time() - older_s, []
        with store_errors("list"):
            async for batch in obstore.list(self._store, prefix=TEMPORARY):
                keys += [meta["path"] for meta in batch if meta["last_modified"].timestamp() < before]
        return keys

    async def _get(self, key: str) -> bytes | None:
        with store_errors("read"), suppress(FileNotFoundError):
            return bytes(await (await obstore.get_async(self._store, key)).bytes_async())
        return None

    async def _drop(self, key: str) -> None:
        with store_errors("delete"), suppress(FileNotFoundError):
            await obstore.delete_async(self._store, key)


def object_key(tenant: str, sha256: str) -> str:
    """Where an object lies. Raises ValueError unless both have their one form, so neither leads to another's."""
    if not _TENANT.fullmatch(tenant) or not _SHA256.fullmatch(sha256):
        raise ValueError(f"not a tenant and a SHA-256: {tenant!r}, {sha256!r}")
    return f"{OBJECTS}/{tenant}/{sha256[:2]}/{sha256}"


def record_key(key: str) -> str:
    """The key itself. Raises ValueError for one that could leave the store or hide in it."""
    if not all(_COMPONENT.fullmatch(part) for part in key.split("/")):
        raise ValueError(f"not a record key: {key!r}")
    return key


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Turns obstore's errors into store_unavailable, with the cause only: they name paths, URLs and signatures."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise AssetError("store_unavailable", f"cannot {what}: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    if number := re.search(r"os error (\d+)", str(error)):
        return os.strerror(int(number[1]))
    named = _NAMED_CAUSE.search(str(error))
    return named[1] or named[2] if named else type(error).__name__
