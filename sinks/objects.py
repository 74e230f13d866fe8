"""The embedded object store: objects by content digest, and small records that the first writer wins.

Keys as in `sinks.records`. The archive is a storage class; in a folder, which has none, it is `archive/…`, and a
link leads there from the object's key.

Guarantee: an object or record is visible whole or not at all, after kill -9 too; what a killed process leaves
is hidden and `sweep` removes it. Storing twice is storing once. Every error of the store is
`store_unavailable`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
from obstore.store import LocalStore, from_url

from schemas.asset import ObjectKind, Ref
from schemas.errors import AssetError
from schemas.ports import Stored
from sinks.blocks import BLOCK, Seen, coalesced, file_blocks
from sinks.records import FIRST, OBJECTS, TEMPORARY, Records, object_key, record_key, store_errors

PART = 8 * 2**20
ARCHIVE = "archive"

_PART_FILE = re.compile(r".+#\d+")


class Objects(Records):
    """An `ObjectStore` in a folder (`file:///folder`) or in memory (`memory:///`), without storage classes or tags.

    `public_base` is what URLs of objects begin with; without it they begin with the store's own URL.
    """

    def __init__(self, url: str, public_base: str = "") -> None:
        store = from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)
        super().__init__(store, public_base or url)
        self._url = url
        self._root = Path(str(store.prefix)) if isinstance(store, LocalStore) else None

    async def add_file(self, tenant: str, path: Path, media_type: str, kind: ObjectKind = ObjectKind.RENDITION) -> Ref:
        """Stores a file under its SHA-256; storing it again changes nothing. Raises store_unavailable."""
        return await self._add(tenant, file_blocks(path), media_type)

    async def add_bytes(
        self, tenant: str, data: bytes, media_type: str, kind: ObjectKind = ObjectKind.RENDITION
    ) -> Ref:
        """The same for bytes in memory."""
        sha256 = (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()
        if not await self.exists(tenant, sha256):
            key, attributes = object_key(tenant, sha256), self._attributes(media_type)
            with store_errors("write"):
                await obstore.put_async(self._store, key, data, attributes=attributes, use_multipart=False)
        return Ref(sha256=sha256, bytes=len(data), media_type=media_type)

    async def add_stream(
        self,
        tenant: str,
        chunks: AsyncIterable[bytes],
        media_type: str,
        limit: int,
        kind: ObjectKind = ObjectKind.RENDITION,
    ) -> Ref:
        """The same for a stream; an error leaves nothing. Raises too_large above `limit`, empty_file."""
        try:
            return await self._add(tenant, coalesced(chunks), media_type, limit)
        finally:
            if close := getattr(chunks, "aclose", None):
                await close()

    async def _add(self, tenant: str, blocks: AsyncIterator[bytes], media_type: str, limit: int | None = None) -> Ref:
        """Written under a temporary key, since the digest is known only at the end; then moved into place."""
        seen, temporary = Seen(limit), f"{TEMPORARY}/{uuid4().hex}"
        object_key(tenant, seen.sha256)  # refuses a bad tenant before anything is written
        try:
            with store_errors("write"):
                await self._write(temporary, seen.passing(blocks), self._attributes(media_type))
            if limit is not None and not seen.bytes:
                raise AssetError("empty_file")
            await self._settle(temporary, tenant, seen.sha256)
        except BaseException:
            with suppress(AssetError):
                await self._drop(temporary)
            raise
        return Ref(sha256=seen.sha256, bytes=seen.bytes, media_type=media_type)

    async def _settle(self, temporary: str, tenant: str, sha256: str) -> None:
        """Two writers of the same content may both move it: the bytes are equal, so either may stand."""
        if await self.exists(tenant, sha256):
            return await self._drop(temporary)
        with store_errors("move"):
            await obstore.rename_async(self._store, temporary, object_key(tenant, sha256), overwrite=True)

    async def _write(self, key: str, blocks: AsyncIterable[Any], attributes: Any) -> None:
        writer = obstore.open_writer_async(self._store, key, attributes=attributes, buffer_size=PART, max_concurrency=2)
        async with writer:
            async for block in blocks:
                await writer.write(block)

    def _attributes(self, media_type: str) -> Any:
        """A folder keeps no media type; LocalStore refuses attributes."""
        return None if self._root else {"Content-Type": media_type}

    @asynccontextmanager
    async def local(self, tenant: str, sha256: str, scratch: Path) -> AsyncIterator[Path]:
        """The object as a local file to read, for as long as the context lasts. Raises object_missing."""
        key = await self._there(tenant, sha256)
        if self._root:
            yield (self._root / key).resolve()
            return
        path = scratch / f"{sha256}.{uuid4().hex[:8]}"
        try:
            await self._download(key, path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def _download(self, key: str, path: Path) -> None:
        with store_errors("read"), path.open("wb") as file:
            async for chunk in (await obstore.get_async(self._store, key)).stream(min_chunk_size=BLOCK):
                await asyncio.to_thread(file.write, chunk)

    async def _there(self, tenant: str, sha256: str) -> str:
        if not await self.exists(tenant, sha256) and not await self.put_back(tenant, sha256):
            raise AssetError("object_missing", sha256)
        return object_key(tenant, sha256)

    async def archive(self, tenant: str, sha256: str) -> None:
        """Moves an object to the folder's archive; it is read as before. Raises object_missing."""
        key = await self._there(tenant, sha256)
        if self._root:
            with store_errors("archive"):
                await asyncio.to_thread(_archive_file, self._root, key)

    async def remove(self, tenant: str, sha256: str) -> None:
        """Removes an object, from the trash too; one that is not there is no error."""
        await super().remove(tenant, sha256)
        if self._root:
            await self._drop(_archive_key(object_key(tenant, sha256)))

    async def stored(self) -> list[Stored]:
        """The objects of all tenants; and archived files that a kill has left without their link, as such."""
        found = await super().stored()
        if not self._root:
            return found
        linked = {_archive_key(each.key) for each in found}
        left = await self._below(ARCHIVE)
        return found + [each for each in left if each.key not in linked]

    async def _move(self, key: str, to: str) -> None:
        if self._root:
            with store_errors("move"):
                return await asyncio.to_thread(_move_file, self._root, key, to)
        await super()._move(key, to)

    async def put(self, key: str, data: bytes, media_type: str) -> None:
        """Writes a private file under a record's key, in a folder that is this user's alone."""
        if self._root:
            with store_errors("write"):
                await asyncio.to_thread((self._root / key).parent.mkdir, mode=0o700, parents=True, exist_ok=True)
                await asyncio.to_thread((self._root / FIRST).chmod, 0o700)
        await super().put(key, data, media_type)

    def _attributes_of_private(self, media_type: str) -> Any:
        return self._attributes(media_type)

    async def private_url(self, key: str, seconds: int) -> str:
        """The file's own: the folder that it lies in is this user's alone."""
        return f"{self._url.rstrip('/')}/{record_key(key)}"

    async def signed_url(self, tenant: str, sha256: str, seconds: int) -> str:
        """The stable URL: whoever reaches the folder needs no signature."""
        return self.url(tenant, sha256)

    async def sweep(self, older_s: float = 86_400.0) -> int:
        """Removes what killed writers left more than `older_s` seconds ago; returns how many files it was."""
        keys, parts = await self._left(older_s)
        await self._drop_private()
        for key in keys:
            await self._drop(key)
        for part in parts:
            await asyncio.to_thread(part.unlink, missing_ok=True)
        return len(keys) + len(parts)

    async def left(self, older_s: float = 86_400.0) -> list[str]:
        """The names of what `sweep` would remove."""
        keys, parts = await self._left(older_s)
        return [*keys, *(part.name for part in parts)]

    async def _left(self, older_s: float) -> tuple[list[str], list[Path]]:
        before, keys = time.time() - older_s, await self._staged(older_s)
        return keys, await asyncio.to_thread(_left_parts, self._root, before) if self._root else []


def _archive_key(key: str) -> str:
    return ARCHIVE + key.removeprefix(OBJECTS)


def _archive_file(root: Path, key: str) -> None:
    """Leaves a link in the object's place, so that its URL stays; at no time is there nothing to read."""
    path, archived = root / key, root / _archive_key(key)
    if path.is_symlink():
        return
    archived.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        archived.hardlink_to(path)
    link = root / TEMPORARY / uuid4().hex
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(os.path.relpath(archived, path.parent))
    link.replace(path)


def _move_file(root: Path, key: str, to: str) -> None:
    """An archived file goes with its link, and without one too; in the trash it is a file like any other."""
    paths = [path for path in (root / key, root / _archive_key(key)) if path.exists()]
    if not paths:
        return
    target = root / to
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        target.hardlink_to(paths[0].resolve())
        for path in paths:
            path.unlink(missing_ok=True)


def _left_parts(root: Path, before: float) -> list[Path]:
    """obstore writes `name#1` beside `name` and never lists it, so the folder itself is walked."""
    return [p for p in root.rglob("*#*") if _PART_FILE.fullmatch(p.name) and p.stat().st_mtime < before]
