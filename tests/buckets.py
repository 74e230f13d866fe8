"""Buckets of the test's own at the S3 server, removed with all that lies in them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import obstore

from chaos.servers import S3, S3_KEY, S3_SECRET
from sinks.s3 import S3Objects
from sinks.s3_bucket import Account, Bucket

ACCOUNT = Account(S3, "us-east-1", S3_KEY, S3_SECRET)
# S3's least size of a part but the last
SMALL_PART = 5 * 2**20


@contextmanager
def bucket() -> Iterator[str]:
    """The URL of a new bucket, with a prefix."""
    name = f"test-{uuid.uuid4().hex}"
    asyncio.run(Bucket(f"s3://{name}", ACCOUNT).ensure())
    try:
        yield f"s3://{name}/some/prefix"
    finally:
        asyncio.run(_removed(Bucket(f"s3://{name}", ACCOUNT)))


async def _removed(made: Bucket) -> None:
    async for key, upload_id, _ in made.uploads():
        await made.call("abort_multipart_upload", key, UploadId=upload_id)
    records = made.records()
    async for batch in obstore.list(records):
        await asyncio.gather(*(obstore.delete_async(records, meta["path"]) for meta in batch))
    await made.call("delete_bucket")


def by_parts(url: str, **fields: Any) -> S3Objects:
    """A store that takes small content by parts already."""
    return S3Objects(url, ACCOUNT, part=SMALL_PART, copied_at_once=SMALL_PART, copy_part=SMALL_PART, **fields)


def behind(address: str) -> Account:
    """The account through a proxy, with little patience."""
    return replace(ACCOUNT, endpoint=f"http://{address}", connect_s=1.0, read_s=1.0)


async def requests(store: S3Objects) -> list[tuple[str, dict[str, Any]]]:
    """Fills with the name and parameters of each request that s3fs sends from now on in this loop."""
    seen: list[tuple[str, dict[str, Any]]] = []

    def note(params: dict[str, Any], model: Any, **_rest: Any) -> None:
        seen.append((model.name, {name: value for name, value in params.items() if name != "Body"}))

    client = await (await store._bucket._session()).set_session()
    client.meta.events.register("provide-client-params.s3", note)
    return seen
