"""Multipart uploads: an object from parts, whole at the end or not at all. An error or a cancellation aborts it."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

from schemas.errors import AssetError
from sinks.blocks import in_order
from sinks.s3_bucket import Bucket

MOST_PARTS = 10_000
AT_ONCE = 2
ABORT_S = 5.0

Job = Coroutine[Any, Any, dict[str, Any]]


def part_size(least: int, most_bytes: int) -> int:
    """Bytes of a part, so that what is `most_bytes` long has no more parts than S3 allows.

    All parts of an object but the last are of one size, as R2 demands.
    """
    return max(least, -(-most_bytes // MOST_PARTS))


async def upload(bucket: Bucket, key: str, parts: AsyncIterable[bytes], **attributes: Any) -> None:
    """Stores the parts, each with its SHA-256; at most two are on their way at once. Raises store_unavailable."""

    async def put(at: dict[str, Any], data: bytes) -> dict[str, Any]:
        checksum = await asyncio.to_thread(_checksum_of, data)
        done = await bucket.call("upload_part", key, **at, Body=data, ChecksumSHA256=checksum)
        return {"PartNumber": at["PartNumber"], "ETag": done["ETag"], "ChecksumSHA256": checksum}

    async def jobs(upload_id: str) -> AsyncIterator[Job]:
        number = 0
        async for data in parts:
            number += 1
            yield put({"UploadId": upload_id, "PartNumber": number}, data)

    await _completed(bucket, key, jobs, ChecksumAlgorithm="SHA256", **attributes)


async def copy(bucket: Bucket, source: str, key: str, size: int, part: int, **attributes: Any) -> None:
    """Copies an object of `size` bytes on the server, by parts. Raises store_unavailable."""

    async def put(at: dict[str, Any], start: int) -> dict[str, Any]:
        span = f"bytes={start}-{min(start + part, size) - 1}"
        done = await bucket.call(
            "upload_part_copy", key, **at, CopySource=bucket.copy_source(source), CopySourceRange=span
        )
        return {"PartNumber": at["PartNumber"], "ETag": done["CopyPartResult"]["ETag"]}

    async def jobs(upload_id: str) -> AsyncIterator[Job]:
        for number, start in enumerate(range(0, size, part), 1):
            yield put({"UploadId": upload_id, "PartNumber": number}, start)

    await _completed(bucket, key, jobs, **attributes)


async def _completed(bucket: Bucket, key: str, jobs: Callable[[str], AsyncIterator[Job]], **attributes: Any) -> None:
    upload_id = (await bucket.call("create_multipart_upload", key, **attributes))["UploadId"]
    try:
        parts = [part async for part in in_order(jobs(upload_id), AT_ONCE)]
        await bucket.call("complete_multipart_upload", key, UploadId=upload_id, MultipartUpload={"Parts": parts})
    except BaseException:
        await abort(bucket, key, upload_id)
        raise


async def abort(bucket: Bucket, key: str, upload_id: str) -> None:
    """Gives an upload up; what a store that is away keeps of it is left to `sweep`."""
    with suppress(AssetError, TimeoutError):
        async with asyncio.timeout(ABORT_S):
            await bucket.call("abort_multipart_upload", key, UploadId=upload_id)


def _checksum_of(data: bytes) -> str:
    """The SHA-256 as S3 writes it: in base64."""
    return b64encode(hashlib.sha256(data).digest()).decode()
