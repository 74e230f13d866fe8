"""Where a run measures: topics, a bucket and collections of its own on the servers, removed at its end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
from pydantic import SecretStr

from chaos import servers
from chaos.stack import drop_collections
from dataflows.connections import account_of, ensure_buckets
from dataflows.topics import apply
from schemas.settings import Settings
from sinks.s3_bucket import Bucket
from sources.kafka_admin import KafkaAdmin


@contextmanager
def place(out: Path, partitions: int) -> Iterator[Settings]:
    """Settings whose topics and bucket are there until the context ends."""
    name = f"bench-{uuid.uuid4().hex[:12]}"
    collections, grpc = name.replace("-", "").capitalize(), servers.WEAVIATE_GRPC.rpartition(":")[2]
    settings = Settings(
        out=out, events=f"kafka://{servers.KAFKA}", topic_prefix=name, partitions=partitions,
        objects=f"s3://{name}/objects", tables=f"s3://{name}/tables", s3_endpoint=servers.S3,
        s3_access_key=servers.S3_KEY, s3_secret_key=SecretStr(servers.S3_SECRET),
        index=f"weaviate://{servers.WEAVIATE}/{collections}?grpc={grpc}",
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    apply(settings)
    try:
        asyncio.run(ensure_buckets(settings))
        yield settings
    finally:
        _remove_topics(settings)
        asyncio.run(_remove(Bucket(f"s3://{name}", account_of(settings))))
        drop_collections(collections)


def _remove_topics(settings: Settings) -> None:
    """All below the prefix, the rivals' changelogs too, and the groups that read them."""
    admin, prefix = KafkaAdmin(settings), settings.topic_prefix
    with admin.answering():
        names = [name for name in admin.client.list_topics(timeout=30).topics if prefix in name]
        known = [found.group_id for found in admin.client.list_consumer_groups().result().valid]
    admin.results(lambda: admin.client.delete_topics(names))
    if groups := [group for group in known if prefix in group]:
        for deleted in admin.client.delete_consumer_groups(groups).values():
            deleted.exception()  # a rival that did not leave is a member until its session times out


async def _remove(bucket: Bucket) -> None:
    records = bucket.records()
    async for batch in obstore.list(records):
        await asyncio.gather(*(obstore.delete_async(records, meta["path"]) for meta in batch))
    await bucket.call("delete_bucket")
