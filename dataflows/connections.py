"""Clients of the services that the settings choose: embedded below `out`, or servers by their URL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from schemas.ports import ObjectStore, VectorIndex
from schemas.settings import Settings
from sinks.channels import FolderChannel
from sinks.objects import Objects
from sources.fetch import FetchPolicy

if TYPE_CHECKING:
    from sinks.s3_bucket import Account


def objects_of(settings: Settings) -> ObjectStore:
    """The object store of these settings."""
    return store_at(settings, settings.objects or settings.below("store").as_uri())


def store_at(settings: Settings, url: str) -> ObjectStore:
    """An object store at a `file:` or `s3:` URL. S3 takes a second to import, which only those pay who use it."""
    if url.startswith("file:"):
        return Objects(url, settings.public_url)
    from sinks.s3 import Policy, S3Objects

    policy = Policy(settings.public_url, settings.s3_storage_classes, settings.s3_archive_class, settings.s3_tags)
    return S3Objects(url, account_of(settings), policy)


def account_of(settings: Settings) -> Account:
    """The account at the S3 service."""
    from sinks.s3_bucket import Account

    secret = settings.s3_secret_key.get_secret_value()
    return Account(settings.s3_endpoint, settings.s3_region, settings.s3_access_key, secret)


async def ensure_buckets(settings: Settings) -> None:
    """Creates the buckets of objects and tables where they are not there. Raises what `Bucket.ensure` raises."""
    from sinks.s3_bucket import Bucket

    for url in filter(None, (settings.objects, settings.tables)):
        await Bucket(url, account_of(settings)).ensure()


def index_of(settings: Settings) -> VectorIndex:
    """The vector index of these settings. Each library takes a second to import, which only those pay who use it."""
    if not settings.index:
        from sinks.lance import LanceIndex

        return LanceIndex(settings.below("index"))
    from sinks import weaviate_client as weaviate
    from sinks.weaviate_index import WeaviateIndex

    policy = weaviate.Policy(settings.index_active_tenants, settings.index_shared_tenants, settings.index_vectors)
    return WeaviateIndex(weaviate.Link(settings.index, settings.weaviate_key.get_secret_value()), policy)


@asynccontextmanager
async def opened_index(settings: Settings) -> AsyncIterator[VectorIndex]:
    """The vector index for one command; its connections end with the context."""
    index = index_of(settings)
    try:
        yield index
    finally:
        await index.close()


def table_uri(settings: Settings, name: str) -> str:
    """Where a Delta table lies."""
    return f"{settings.tables.rstrip('/')}/{name}" if settings.tables else str(settings.below("tables", name))


def table_options(settings: Settings) -> dict[str, str] | None:
    """What Delta Lake and polars need to reach the tables; None for a folder."""
    if not settings.tables:
        return None
    given = {
        "aws_endpoint_url": settings.s3_endpoint,
        "aws_region": settings.s3_region,
        "aws_access_key_id": settings.s3_access_key,
        "aws_secret_access_key": settings.s3_secret_key.get_secret_value(),
        "aws_allow_http": str(settings.s3_endpoint.startswith("http:")).lower(),
        "aws_conditional_put": "etag",
    }
    return {name: value for name, value in given.items() if value}


def channels_of(settings: Settings) -> dict[str, FolderChannel]:
    """The channels that assets can be published to, by name."""
    return {"folder": FolderChannel(settings.below("published"))}


def policy_of(settings: Settings) -> FetchPolicy:
    """What may be fetched from where: no files of this machine for whoever can write to Kafka."""
    allowed = settings.url_allowed_networks
    return FetchPolicy(files=not settings.events, allowed_networks=allowed, total_s=settings.url_total_s)
