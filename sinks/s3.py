"""The object store on S3: objects by content digest, and small records that the first writer wins.

Keys as in `sinks.records`. What fits in one part is put at once under its key, if absent; a larger file is hashed
first and then uploaded under its key by parts; a larger stream is staged below `tmp/`, hashed on its way, copied on the
server to the key that its digest is, and removed. Every part and every put carries its SHA-256, which S3 checks.

Guarantee: an object or record is visible whole or not at all, after kill -9 too; what a killed process leaves is
an unfinished upload or below `tmp/`, and `sweep` removes it. Storing twice is storing once. Every error of the
store is `store_unavailable`.
"""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from schemas.asset import ObjectKind, Ref
from schemas.errors import AssetError
from sinks import s3_multipart as multipart
from sinks.blocks import Seen, coalesced, file_blocks, in_order, in_parts
from sinks.records import TEMPORARY, Records, object_key, record_key
from sinks.s3_bucket import Account, Bucket, NotThere

PART = 8 * 2**20
RANGES_AT_ONCE = 4
# S3 copies up to 5 GB in one request, which then takes longer than a client should wait
COPIED_AT_ONCE = 2**30
COPY_PART = 512 * 2**20
LONGEST_S = 7 * 86_400


@dataclass(frozen=True)
class Policy:
    """How objects are kept and addressed.

    `public_base` is what stable URLs begin with, else they are `s3://…`. `storage_classes` are by kind, where not the
    bucket's own; `archive_class` is one that is read without being restored first, "" for none. `tags`: objects carry
    `kind=…` for the bucket's lifecycle rules, where the service has tags.
    """

    public_base: str = ""
    storage_classes: Mapping[ObjectKind, str] = field(default_factory=dict)
    archive_class: str = "STANDARD_IA"
    tags: bool = True


class S3Objects(Records):
    """An `ObjectStore` at `s3://bucket/prefix`.

    In bytes: `part` is the least size of a part; one request copies at most `copied_at_once`, and more is copied by
    parts of `copy_part`.
    """

    def __init__(
        self,
        url: str,
        account: Account,
        policy: Policy | None = None,
        part: int = PART,
        copied_at_once: int = COPIED_AT_ONCE,
        copy_part: int = COPY_PART,
    ) -> None:
        self._bucket, self._policy, self._part = Bucket(url, account), policy or Policy(), part
        self._copied_at_once, self._copy_part = copied_at_once, copy_part
        super().__init__(self._bucket.records(), self._policy.public_base or url)

    async def add_file(self, tenant: str, path: Path, media_type: str, kind: ObjectKind = ObjectKind.RENDITION) -> Ref:
        """Stores a file under its SHA-256; storing it again changes nothing.

        Raises store_unavailable, source_changed if the file changes meanwhile.
        """
        size = path.stat().st_size
        if size <= self._part:
            return await self.add_bytes(tenant, await asyncio.to_thread(path.read_bytes), media_type, kind)
        sha256 = await asyncio.to_thread(_sha256_of, path)
        if not await self.exists(tenant, sha256):
            parts = in_parts(_unchanged(path, sha256), multipart.part_size(self._part, size))
            key, attributes = object_key(tenant, sha256), self._attributes(media_type, kind)
            await multipart.upload(self._bucket, key, parts, **attributes)
        return Ref(sha256=sha256, bytes=size, media_type=media_type)

    async def add_bytes(
        self, tenant: str, data: bytes, media_type: str, kind: ObjectKind = ObjectKind.RENDITION
    ) -> Ref:
        """The same for bytes in memory."""
        digest = await asyncio.to_thread(hashlib.sha256, data)
        sha256, checksum = digest.hexdigest(), b64encode(digest.digest()).decode()
        if not await self.exists(tenant, sha256):
            attributes = self._attributes(media_type, kind) | {"ChecksumSHA256": checksum, "IfNoneMatch": "*"}
            try:
                await self._bucket.call("put_object", object_key(tenant, sha256), Body=data, **attributes)
            except AssetError:
                # who refuses a put before it has read the bytes may reset the connection, and its answer is lost
                if not await self.exists(tenant, sha256):
                    raise
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
        seen, size = Seen(limit), multipart.part_size(self._part, limit)
        object_key(tenant, seen.sha256)  # refuses a bad tenant before anything is read
        parts = in_parts(seen.passing(coalesced(chunks)), size)
        try:
            first = await anext(parts, b"")
            if not first:
                raise AssetError("empty_file")
            if len(first) < size:
                return await self.add_bytes(tenant, first, media_type, kind)
            await self._add_staged(tenant, _chained(first, parts), seen, self._attributes(media_type, kind))
        finally:
            if close := getattr(chunks, "aclose", None):
                await close()
        return Ref(sha256=seen.sha256, bytes=seen.bytes, media_type=media_type)

    async def _add_staged(
        self, tenant: str, parts: AsyncIterator[bytes], seen: Seen, attributes: dict[str, str]
    ) -> None:
        """Two writers of the same content may both copy it: the bytes are equal, so either may stand."""
        temporary = f"{TEMPORARY}/{uuid4().hex}"
        try:
            await multipart.upload(self._bucket, temporary, parts)
            if not await self.exists(tenant, seen.sha256):
                await self._copy(temporary, object_key(tenant, seen.sha256), seen.bytes, attributes)
        finally:
            with suppress(AssetError, TimeoutError):
                async with asyncio.timeout(multipart.ABORT_S):
                    await self._drop(temporary)

    async def _copy(self, source: str, key: str, size: int, attributes: dict[str, str]) -> None:
        if size > self._copied_at_once:
            return await multipart.copy(self._bucket, source, key, size, self._copy_part, **attributes)
        replaced = {"MetadataDirective": "REPLACE"} | ({"TaggingDirective": "REPLACE"} if self._policy.tags else {})
        named = {"CopySource": self._bucket.copy_source(source)}
        await self._bucket.call("copy_object", key, **named, **replaced, **attributes)

    def _attributes(self, media_type: str, kind: ObjectKind) -> dict[str, str]:
        given = {
            "ContentType": media_type,
            "StorageClass": self._policy.storage_classes.get(kind, ""),
            "Tagging": urlencode({"kind": kind}) if self._policy.tags else "",
        }
        return {name: value for name, value in given.items() if value}

    @asynccontextmanager
    async def local(self, tenant: str, sha256: str, scratch: Path) -> AsyncIterator[Path]:
        """The object as a local file to read, for as long as the context lasts; its digest is verified.

        Raises object_missing, object_damaged, scratch_full.
        """
        path = scratch / f"{sha256}.{uuid4().hex[:8]}"
        try:
            await self._download(tenant, sha256, path)
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def _download(self, tenant: str, sha256: str, path: Path) -> None:
        key = object_key(tenant, sha256)
        about = await self._head(key) or (await self.put_back(tenant, sha256) and await self._head(key))
        if not about:
            raise AssetError("object_missing", sha256)
        seen, size = Seen(None), about["ContentLength"]
        try:
            with path.open("wb") as file:
                async for block in seen.passing(in_order(self._ranges(key, size), RANGES_AT_ONCE)):
                    await asyncio.to_thread(file.write, block)
        except OSError as error:
            if error.errno in (EFBIG, ENOSPC, EDQUOT):
                raise AssetError("scratch_full", error.strerror or "") from error
            raise
        if seen.sha256 != sha256:
            raise AssetError("object_damaged", sha256)

    async def _ranges(self, key: str, size: int) -> AsyncIterator[Coroutine[Any, Any, bytes]]:
        for start in range(0, size, PART):
            yield self._bucket.read(key, start, min(start + PART, size))

    async def _head(self, key: str) -> dict[str, Any] | None:
        with suppress(NotThere):
            return await self._bucket.call("head_object", key)
        return None

    async def archive(self, tenant: str, sha256: str) -> None:
        """Moves an object to the archive's storage class; it is read as before. Raises object_missing."""
        key, wanted = object_key(tenant, sha256), self._policy.archive_class
        about = await self._head(key)
        if about is None:
            raise AssetError("object_missing", sha256)
        if wanted and about.get("StorageClass") != wanted:
            await self._copy(key, key, about["ContentLength"], await self._kept(key, about) | {"StorageClass": wanted})

    async def _kept(self, key: str, about: dict[str, Any]) -> dict[str, str]:
        """What a copy of an object has to be told, to be as the object is."""
        kept: dict[str, str] = {name: about[name] for name in ("ContentType", "StorageClass") if name in about}
        if self._policy.tags:
            tags = (await self._bucket.call("get_object_tagging", key))["TagSet"]
            kept["Tagging"] = urlencode({tag["Key"]: tag["Value"] for tag in tags})
        return kept

    async def _copied(self, source: str, key: str) -> bool:
        """On the server, with type, storage class and tags."""
        with suppress(NotThere):
            if about := await self._head(source):
                await self._copy(source, key, about["ContentLength"], await self._kept(source, about))
                return True
        return False

    async def signed_url(self, tenant: str, sha256: str, seconds: int) -> str:
        """A URL that gives the object for so many seconds, at most a week, and that no cache may keep."""
        if not 0 < seconds <= LONGEST_S:
            raise ValueError(f"a signed URL lasts from 1 to {LONGEST_S} seconds, not {seconds}")
        return await self._bucket.signed_url(object_key(tenant, sha256), seconds)

    async def private_url(self, key: str, seconds: int) -> str:
        """A URL that gives a private file for so many seconds, and that no cache may keep."""
        return await self._bucket.signed_url(record_key(key), seconds)

    async def sweep(self, older_s: float = 86_400.0) -> int:
        """Removes what killed writers left more than `older_s` seconds ago; returns how many uploads it was."""
        keys, uploads = await self._left(older_s)
        await self._drop_private()
        for key in keys:
            await self._drop(key)
        for key, upload_id in uploads:
            await multipart.abort(self._bucket, key, upload_id)
        return len(keys) + len(uploads)

    async def left(self, older_s: float = 86_400.0) -> list[str]:
        """The keys of what `sweep` would remove."""
        keys, uploads = await self._left(older_s)
        return [*keys, *(key for key, _ in uploads)]

    async def _left(self, older_s: float) -> tuple[list[str], list[tuple[str, str]]]:
        before = datetime.now(UTC) - timedelta(seconds=older_s)
        uploads = [(key, upload_id) async for key, upload_id, begun in self._bucket.uploads() if begun < before]
        return await self._staged(older_s), uploads


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _unchanged(path: Path, sha256: str) -> AsyncIterator[bytes]:
    """The file's blocks, and source_changed at the end if they are not those that were hashed before."""
    seen = Seen(None)
    async for block in seen.passing(file_blocks(path)):
        yield block
    if seen.sha256 != sha256:
        raise AssetError("source_changed", path.name)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in rest:
        yield part
