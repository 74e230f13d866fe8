"""Clients of the services that the settings choose: embedded below `out`, or servers by their URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.settings import Settings
from sinks.channels import FolderChannel
from sinks.objects import Objects
from sources.fetch import FetchPolicy

if TYPE_CHECKING:
    from sinks.lance import LanceIndex


def objects_of(settings: Settings) -> Objects:
    """The object store of these settings."""
    return Objects(settings.below("store").as_uri())


def index_of(settings: Settings) -> LanceIndex:
    """The vector index of these settings. Its library takes a second to import, which only those pay who use it."""
    from sinks.lance import LanceIndex

    return LanceIndex(str(settings.below("index")))


def table_uri(settings: Settings, name: str) -> str:
    """Where a Delta table lies."""
    return f"{settings.tables.rstrip('/')}/{name}" if settings.tables else str(settings.below("tables", name))


def table_options(settings: Settings) -> dict[str, str] | None:
    """What Delta Lake and polars need to reach the tables; None for a folder."""
    if not settings.tables:
        return None
    return {
        "aws_endpoint_url": settings.s3_endpoint,
        "aws_region": settings.s3_region,
        "aws_access_key_id": settings.s3_access_key,
        "aws_secret_access_key": settings.s3_secret_key.get_secret_value(),
        "aws_allow_http": str(settings.s3_endpoint.startswith("http:")).lower(),
        "aws_conditional_put": "etag",
    }


def channels_of(settings: Settings) -> dict[str, FolderChannel]:
    """The channels that assets can be published to, by name."""
    return {"folder": FolderChannel(settings.below("published"))}


def policy_of(settings: Settings) -> FetchPolicy:
    """What may be fetched from where."""
    return FetchPolicy(allowed_networks=settings.url_allowed_networks, total_s=settings.url_total_s)
