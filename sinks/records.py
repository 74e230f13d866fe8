"""What every object store does alike, by obstore: small records that the first writer wins, and look-ups by key.

Keys: `objects/{tenant}/{sha[:2]}/{sha}`, `trash/{tenant}/{sha[:2]}/{sha}.{ms since 1970}-{random}` for what may be
removed, `tmp/…` for what is still being written, `first/…` for private files that live for a day, and whatever keys
callers choose for records.
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
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from schemas.errors import AssetError
from schemas.ports import Stored

if TYPE_CHECKING:
    from obstore import Attributes, ObjectMeta
    from obstore.store import ObjectStore

OBJECTS, TRASH, TEMPORARY, FIRST = "objects", "trash", "tmp", "first"

_FIRST_S = 86_400.0
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMPONENT = re.compile(r"(?!\.)[A-Za-z0-9._=@+:-]{1,200}")
_OBJECT = re.compile(r"\w+/([^/]+)/[^/]+/([0-9a-f]{64})")
_TRASHED = re.compile(r"([0-9a-f]{64})\.(\d{13})-[0-9a-f]{8}")
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
        return sorted(meta["path"] for meta in await self._listed(record_key(prefix.rstrip("/"))))

    async def delete(self, key: str) -> None:
        """Deletes a record; one that is not there is no error."""
        await self._drop(record_key(key))

    async def read(self, tenant: str, sha256: str) -> bytes:
        """The object's bytes. Raises object_missing, object_damaged."""
        data = await self._get(object_key(tenant, sha256))
        if data is None and await self.put_back(tenant, sha256):
            data = await self._get(object_key(tenant, sha256))
        if data is None:
            raise AssetError("object_missing", sha256)
        if (await asyncio.to_thread(hashlib.sha256, data)).hexdigest() != sha256:
            raise AssetError("object_damaged", sha256)
        return data

    async def read_range(self, tenant: str, sha256: str, start: int, end: int) -> bytes:
        """The object's bytes from `start` up to `end`, unverified. Raises object_missing."""
        with store_errors("read"), suppress(FileNotFoundError):
            found = await obstore.get_range_async(self._store, object_key(tenant, sha256), start=start, end=end)
            return bytes(found)
        raise AssetError("object_missing", sha256)

    async def put(self, key: str, data: bytes, media_type: str) -> None:
        """Writes a private file under a record's key, over the one that is there: at any time it is there whole."""
        attributes = self._attributes_of_private(media_type)
        with store_errors("write"):
            await obstore.put_async(self._store, record_key(key), data, attributes=attributes, use_multipart=False)

    def _attributes_of_private(self, media_type: str) -> Attributes | None:
        return {"Content-Type": media_type, "Cache-Control": "no-store"}

    async def exists(self, tenant: str, sha256: str) -> bool:
        """Whether the object is there."""
        return await self._size(object_key(tenant, sha256)) is not None

    async def size(self, tenant: str, sha256: str) -> int | None:
        """The object's size in bytes, None if it is not there."""
        key = object_key(tenant, sha256)
        found = await self._size(key)
        return await self._size(key) if found is None and await self.put_back(tenant, sha256) else found

    async def remove(self, tenant: str, sha256: str) -> None:
        """Removes an object, from the trash too; one that is not there is no error."""
        key = object_key(tenant, sha256)
        await self._drop(key)
        for copy in await self.trashed(tenant, sha256):
            await self.purge(copy)
            await self._drop(key)  # someone may have been about to take it back

    async def stored(self) -> list[Stored]:
        """The objects of all tenants, as they are listed."""
        return await self._below(OBJECTS)

    async def _below(self, prefix: str) -> list[Stored]:
        return [
            Stored(found[1], found[2], meta["size"], int(meta["last_modified"].timestamp() * 1000), meta["path"])
            for meta in await self._listed(prefix)
            if (found := _OBJECT.fullmatch(meta["path"]))
        ]

    async def trashed(self, tenant: str = "", sha256: str = "") -> list[Stored]:
        """What lies in the trash, oldest first: all of it, a tenant's, or one object's."""
        listed = await self._listed("/".join(filter(None, (TRASH, tenant, sha256[:2]))))
        found = [
            Stored(meta["path"].split("/")[1], parts[1], meta["size"], int(parts[2]), meta["path"])
            for meta in listed
            if (parts := _TRASHED.fullmatch(meta["path"].rpartition("/")[2])) and parts[1].startswith(sha256)
        ]
        return sorted(found, key=lambda each: (each.at_ms, each.key))

    async def discard(self, tenant: str, sha256: str, at_ms: int) -> None:
        """Moves an object to the trash, under a key of its own; one that is not there is no error."""
        name = f"{sha256[:2]}/{sha256}.{at_ms:013d}-{uuid4().hex[:8]}"
        await self._move(object_key(tenant, sha256), f"{TRASH}/{tenant}/{name}")

    async def put_back(self, tenant: str, sha256: str) -> bool:
        """Whether the object is there, copied out of the trash if it was only in there.

        The copy in the trash stays: whoever moves the object there again meanwhile has a key of its own, so at no time
        is the last copy removed.
        """
        for copy in reversed(await self.trashed(tenant, sha256)):
            if await self.exists(tenant, sha256) or await self._copied(copy.key, object_key(tenant, sha256)):
                return True
        return await self.exists(tenant, sha256)

    async def purge(self, trashed: Stored) -> None:
        """Removes this copy in the trash, for good; one that is not there is no error."""
        await self._drop(trashed.key)

    async def _copied(self, source: str, key: str) -> bool:
        """Copies, over what is there; whether there was something to copy."""
        with store_errors("copy"), suppress(FileNotFoundError):
            await obstore.copy_async(self._store, source, key, overwrite=True)
            return True
        return False

    async def _move(self, key: str, to: str) -> None:
        """At no time is there neither; nothing happens if there is nothing."""
        if await self._copied(key, to):
            await self._drop(key)

    def url(self, tenant: str, sha256: str) -> str:
        """The object's stable URL: the public base and the key."""
        return f"{self._base}/{object_key(tenant, sha256)}"

    async def _staged(self, older_s: float) -> list[str]:
        """Keys of what has been `tmp/…` for more than `older_s` seconds."""
        return await self._older(TEMPORARY, older_s)

    async def _drop_private(self) -> None:
        """Removes private files that are a day old: no URL of theirs lasts so long."""
        for key in await self._older(FIRST, _FIRST_S):
            await self._drop(key)

    async def _older(self, prefix: str, older_s: float) -> list[str]:
        before = time.time() - older_s
        return [meta["path"] for meta in await self._listed(prefix) if meta["last_modified"].timestamp() < before]

    async def _listed(self, prefix: str) -> list[ObjectMeta]:
        with store_errors("list"):
            return [meta async for batch in obstore.list(self._store, prefix=prefix) for meta in batch]

    async def _size(self, key: str) -> int | None:
        with store_errors("look up"), suppress(FileNotFoundError):
            return int((await obstore.head_async(self._store, key))["size"])
        return None

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
