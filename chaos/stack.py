"""A place of its own for each case on the real servers: topics, a bucket, an index, and the settings of its flows."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import obstore
from confluent_kafka.admin import AdminClient

from chaos import servers
from dataflows import topics as applied
from dataflows.connections import account_of, ensure_buckets
from schemas.settings import Settings
from schemas.topics import TOPICS, client_options, full_name
from sinks.s3_bucket import Bucket

PARTITIONS = 6
# documents go through all models that read, other assets through none
LEAN, READ = "lean", "default"
_PIPELINES = '[lean]\nprofile = "none"\n'


@dataclass(frozen=True)
class Route:
    """Where the servers are reached, each as `host:port`; `s3` with its scheme."""

    kafka: str = servers.KAFKA
    s3: str = servers.S3
    weaviate: str = servers.WEAVIATE
    weaviate_grpc: str = servers.WEAVIATE_GRPC


SERVERS = Route()


@dataclass(frozen=True)
class Stack:
    """`settings` are the driver's own, which no fault meets; `flows` those of the flows' processes."""

    folder: Path
    direct: Route
    faulty: Route
    served_index: bool = True
    replication: int = 1
    name: str = field(default_factory=lambda: f"chaos-{uuid.uuid4().hex[:12]}")

    @property
    def settings(self) -> Settings:
        """As the servers themselves answer."""
        return Settings(**self._fields(self.direct))

    @property
    def flows(self) -> Settings:
        """As the flows are to reach them."""
        return Settings(**self._fields(self.faulty))

    @property
    def inputs(self) -> Path:
        """The folder of the files that are submitted."""
        return self.folder / "in"

    @property
    def _collections(self) -> str:
        """What the names of its collections begin with."""
        return self.name.replace("-", "").capitalize()

    def _fields(self, route: Route) -> dict[str, Any]:
        pipelines = self.folder / "pipelines.toml"
        index = f"weaviate://{route.weaviate}/{self._collections}?grpc={route.weaviate_grpc.rpartition(':')[2]}"
        return {
            "out": self.folder / "out",
            "events": f"kafka://{route.kafka}",
            "topic_prefix": self.name,
            "partitions": PARTITIONS,
            "replication": self.replication,
            "objects": f"s3://{self.name}/store",
            "tables": f"s3://{self.name}/tables",
            "s3_endpoint": route.s3,
            "s3_access_key": servers.S3_KEY,
            "s3_secret_key": servers.S3_SECRET,
            "index": index if self.served_index else "",
            "tenant": self.name,
            "pipelines_file": pipelines,
            "unfinished": 24,
            "heavy_workers": 1,
            "light_workers": 1,
        }

    def environment(self, **given: Any) -> dict[str, str]:
        """The environment of a flow's process, with settings of its own."""
        fields = {**self._fields(self.faulty), **given}
        ours = {f"ASSET_PIPELINE_{name.upper()}": str(value) for name, value in fields.items()}
        others = {name: value for name, value in os.environ.items() if not name.startswith("ASSET_PIPELINE_")}
        return {**others, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1", **ours}

    def make(self) -> None:
        """Makes folders, topics and the bucket."""
        self.inputs.mkdir(parents=True)
        (self.folder / "pipelines.toml").write_text(_PIPELINES)
        applied.apply(self.settings)
        asyncio.run(ensure_buckets(self.settings))

    def remove(self) -> None:
        """Removes what the servers hold of it; its folder stays."""
        settings = self.settings
        names = [full_name(settings, topic) for topic in TOPICS]
        admin = AdminClient(dict(client_options(settings)))  # its futures fail once it is gone
        for future in admin.delete_topics(names).values():
            future.result()
        asyncio.run(_emptied(Bucket(f"s3://{self.name}", account_of(settings))))
        drop_collections(self._collections)


async def _emptied(bucket: Bucket) -> None:
    async for key, upload_id, _ in bucket.uploads():
        await bucket.call("abort_multipart_upload", key, UploadId=upload_id)
    records = bucket.records()
    async for batch in obstore.list(records):
        await asyncio.gather(*(obstore.delete_async(records, meta["path"]) for meta in batch))
    await bucket.call("delete_bucket")


def drop_collections(prefix: str) -> None:
    """Removes all collections and aliases of Weaviate whose names begin so."""
    with httpx.Client(base_url=f"http://{servers.WEAVIATE}/v1", timeout=120) as server:
        for alias in server.get("/aliases").json()["aliases"] or ():
            if alias["alias"].startswith(prefix):
                server.delete(f"/aliases/{alias['alias']}").raise_for_status()
        for found in server.get("/schema").json()["classes"]:
            if found["class"].startswith(prefix):
                server.delete(f"/schema/{found['class']}").raise_for_status()


@contextmanager
def stack(folder: Path, direct: Route, faulty: Route, keep: bool = False, **fields: Any) -> Iterator[Stack]:
    """A stack that is removed at the end, unless it is to be kept."""
    made = Stack(folder, direct, faulty, **fields)
    made.make()
    try:
        yield made
    finally:
        if not keep:
            made.remove()
