"""Settings, read once at the start and passed down: environment variables `ASSET_PIPELINE_*`, then defaults."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.asset import ObjectKind
from schemas.pipelines import Pipeline

# the port of gRPC may be at another host; names of collections begin with the path, which may be left out
WEAVIATE_URL = r"weaviates?://[^/?#@:]+(:\d+)?(/([A-Z][A-Za-z0-9]{0,60})?)?(\?grpc=([^&#:]+:)?\d+)?"


class Settings(BaseSettings):
    """Where things lie, how much runs at once, and what is taken in. Relative paths are below the working folder.

    `objects`, `index`, `tables` and `events` choose a service each by its URL; without one it is embedded, below `out`.
    """

    model_config = SettingsConfigDict(env_prefix="ASSET_PIPELINE_", frozen=True, extra="forbid")

    out: Path = Path("out")
    # s3://bucket/prefix, weaviate://host:port/Prefix?grpc=port, s3://bucket/prefix, kafka://host:port,host:port
    objects: str = Field(default="", pattern=r"^(s3://.+)?$")
    index: str = Field(default="", pattern=rf"^({WEAVIATE_URL})?$")
    tables: str = Field(default="", pattern=r"^(s3://.+)?$")
    events: str = Field(default="", pattern=r"^(kafka://.+)?$")
    s3_endpoint: str = ""
    s3_region: str = "us-east-1"
    s3_access_key: str = ""
    s3_secret_key: SecretStr = SecretStr("")
    # storage classes by kind of object, where not the bucket's own; of archived originals; whether the service has tags
    s3_storage_classes: dict[ObjectKind, str] = {}
    s3_archive_class: str = "STANDARD_IA"
    s3_tags: bool = True
    # what URLs of stored objects begin with, where not the store's own
    public_url: str = Field(default="", pattern=r"^(https?://.+)?$")
    weaviate_key: SecretStr = SecretStr("")
    # how many tenants of a collection one process keeps active; each holds about 12 of the server's file handles
    index_active_tenants: int = Field(default=1000, ge=1)
    # small organisations, by patterns of their names, which share a few of the index's tenants; `reindex` on a change
    index_shared_tenants: tuple[str, ...] = ()
    # how vectors are searched: all of an organisation's, exactly, or by a graph; `reindex` on a change
    index_vectors: Literal["flat", "hnsw"] = "flat"
    # handed to librdkafka as they are: security.protocol, sasl.username, ssl.ca.location, …
    kafka_options: dict[str, SecretStr] = {}
    topic_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,100}$")
    partitions: int = Field(default=12, ge=1)
    replication: int = Field(default=1, ge=1)
    retention_h: int = Field(default=168, ge=1)
    # how far the tables' time travel reaches back, once `compact` has removed what is older
    vacuum_h: int = Field(default=168, ge=24)
    # windows of event time in which use is summed; events that come later than the lateness are added afterwards,
    # gathered for as long as the refresh
    usage_window_s: int = Field(default=3600, ge=1)
    usage_lateness_s: float = Field(default=300.0, ge=0)
    usage_refresh_s: float = Field(default=10.0, gt=0)
    # what an asset's parents get together of a use of it, as a share
    usage_credit_share: float = Field(default=0.5, ge=0, lt=1)
    # how soon what waits for a flow is to be finished; the metric `advised_processes` goes by it
    finish_within_s: float = Field(default=900.0, gt=0)
    # which of a flow's processes this is; each reads the partitions p with p % processes == process
    process: int = Field(default=0, ge=0)
    processes: int = Field(default=1, ge=1)
    input: tuple[str, ...] = ()
    tenant: str = "default"
    pipeline: str = "default"
    pipelines_file: Path | None = None
    follow: bool = False
    settle_s: float = Field(default=2.0, ge=0)
    unfinished: int = Field(default=32, ge=1)
    attempts: int = Field(default=3, ge=1)
    backoff_s: float = Field(default=0.5, ge=0)
    # how long work waits for a service that is away before it fails; an hour where one is a server, else not at all
    patience_s: float | None = Field(default=None, ge=0)
    heavy_workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    light_workers: int = Field(default=2, ge=1)
    model_processes: int = Field(default=1, ge=1)
    task_memory_bytes: int = 3 * 2**30
    # LibreOffice's program by name or path; documents are drawn by it where it is there, and skipped where not
    office: str = "soffice"
    require_sandbox: bool = True
    # host:port of `/startupz`, `/livez`, `/readyz` and `/metrics`; nothing is served without one
    http: str = Field(default="", pattern=r"^(.*:\d{1,5})?$")
    metrics_by_tenant: bool = False
    # the base URL of an OpenTelemetry collector (OTLP over HTTP) that traces are sent to; none are made without one
    otlp: str = Field(default="", pattern=r"^(https?://.+)?$")
    # where failures are told; nothing is sent without one
    sentry_dsn: SecretStr = SecretStr("")
    url_allowed_networks: tuple[str, ...] = ()
    url_total_s: float = 3600.0

    def below(self, *parts: str) -> Path:
        """A path below `out`."""
        return self.out.absolute().joinpath(*parts)

    def reads(self, partition: int) -> bool:
        """Whether a partition of a topic is one of this process's."""
        return partition % self.processes == self.process

    def process_folder(self, flow: str) -> Path:
        """Where a flow's process keeps its lock, its scratch and its recovery store."""
        return self.below("processes", f"{flow}-{self.process}") if self.events else self.below()

    @property
    def patience(self) -> float:
        """`patience_s`, or its default."""
        served = self.objects or self.index or self.tables or self.events
        return (3600.0 if served else 0.0) if self.patience_s is None else self.patience_s

    def pipelines(self) -> dict[str, Pipeline]:
        """The pipelines by name: those of the TOML or JSON file, and `default` where the file has none of that name.

        Raises ValueError with the file's name and the field that is wrong.
        """
        tables = _read(self.pipelines_file) if self.pipelines_file else {}
        found = {"default": Pipeline()}
        for name, table in tables.items():
            try:
                found[name] = Pipeline(**{**table, "name": name})
            except ValidationError as error:
                raise ValueError(f"{self.pipelines_file}: pipeline {name!r}: {error}") from error
        return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict((json.loads if path.suffix == ".json" else tomllib.loads)(path.read_text()))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
