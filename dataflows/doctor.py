"""What this machine and its settings need for flows to run: what was found, and what to do about it."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from deltalake import DeltaTable

from dataflows.connections import objects_of, opened_index, table_options, table_uri
from operators import sandbox
from operators.models import registry
from schemas.errors import AssetError
from schemas.routing import PROFILES, routings_of
from schemas.settings import Settings
from schemas.tables import TABLES
from schemas.topics import TOPICS, full_name

FOUND = ["check", "state", "found", "todo"]
_SPARE_BYTES, _SKEW_S, _ANSWER_S, _LINE = 10 * 2**30, 5.0, 15.0, 80


class Trouble(Exception):
    """What is wrong, and what to do about it."""

    def __init__(self, found: str, todo: str) -> None:
        super().__init__(found)
        self.todo = todo


class Check(NamedTuple):
    """Looks at something: returns what it found, or raises; `todo` is for errors that do not say it themselves."""

    name: str
    look: Callable[[Settings], str]
    todo: str


def examine(settings: Settings) -> list[dict[str, Any]]:
    """One row a check, all looked at beside each other, each for a quarter of a minute at most."""
    pool = ThreadPoolExecutor(len(CHECKS))
    asked = [(check, pool.submit(check.look, settings)) for check in CHECKS]
    until = time.monotonic() + _ANSWER_S
    rows = []
    for check, answer in asked:
        row = {"check": check.name, "state": "ok", "found": "", "todo": ""}
        try:
            row["found"] = answer.result(max(0.0, until - time.monotonic()))
        except Trouble as trouble:
            row |= {"state": "trouble", "found": str(trouble), "todo": trouble.todo}
        except Exception as error:
            row |= {"state": "trouble", "found": _said(error), "todo": check.todo}
        rows.append(row)
    pool.shutdown(wait=False)
    return rows


def _said(error: Exception) -> str:
    """What an error says, in a short line."""
    if isinstance(error, TimeoutError):
        return "no answer"
    said = f"{error.code}: {error.detail}" if isinstance(error, AssetError) else f"{type(error).__name__}: {error}"
    return said.partition("\n")[0][:_LINE]


def _settings(settings: Settings) -> str:
    pipelines = settings.pipelines()
    unknown = {pipeline.profile for pipeline in pipelines.values()} - {*PROFILES, "none"}
    if unknown:
        raise Trouble(f"no profile {', '.join(sorted(unknown))}", f"use one of {', '.join(sorted(PROFILES))} or none")
    return f"pipelines {', '.join(sorted(pipelines))}"


def _events(settings: Settings) -> str:
    if not settings.events:
        return "embedded"
    from sources.kafka_admin import KafkaAdmin

    admin = KafkaAdmin(settings, _ANSWER_S / 2)
    with admin.answering():
        there = admin.client.list_topics(timeout=admin.patience_s).topics
    missing = [name for topic in TOPICS if (name := full_name(settings, topic)) not in there]
    if missing:
        raise Trouble(f"{len(missing)} of {len(TOPICS)} topics are missing", "asset-pipeline topics apply")
    return f"{len(TOPICS)} topics at {settings.events}"


def _objects(settings: Settings) -> str:
    async def written() -> None:
        store, key = objects_of(settings), f"doctor/{uuid.uuid4().hex}.json"
        await store.create(key, b"{}")
        await store.delete(key)

    asyncio.run(written())
    return f"written to {settings.objects or settings.below('store')}"


def _tables(settings: Settings) -> str:
    options = table_options(settings)
    there = [name for name in TABLES if DeltaTable.is_deltatable(table_uri(settings, name), options)]
    return f"{len(there)} of {len(TABLES)} tables at {settings.tables or settings.below('tables')}"


def _index(settings: Settings) -> str:
    async def asked() -> list[str]:
        async with opened_index(settings) as index:
            return await index.spaces()

    return f"{len(asyncio.run(asked()))} vector spaces at {settings.index or settings.below('index')}"


def _models(settings: Settings) -> str:
    routings = routings_of(settings.pipelines().values())
    missing = [str(path) for routing in routings for path in registry.missing(routing)]
    if missing:
        raise Trouble(f"no file {', '.join(missing)}", "install the package again: its weights come with it")
    left_out = {route.model for routing in routings for route in routing.routes if not registry.available(route)}
    return f"all there, but for the extra's {', '.join(sorted(left_out))}" if left_out else "all there"


def _disk(settings: Settings) -> str:
    place = _existing(settings.below())
    free = shutil.disk_usage(place).free
    if free < _SPARE_BYTES:
        raise Trouble(f"{free / 2**30:.1f} GiB free at {place}", "free space, or set ASSET_PIPELINE_OUT elsewhere")
    return f"{free / 2**30:.0f} GiB free at {place}"


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)


def _clock(settings: Settings) -> str:
    if not settings.s3_endpoint:
        return "nobody to compare with"
    told = httpx.head(settings.s3_endpoint, timeout=_ANSWER_S / 2).headers.get("date")
    if not told:
        return "the store tells no time"
    skew = time.time() - parsedate_to_datetime(told).timestamp()
    if abs(skew) > _SKEW_S:
        raise Trouble(f"{skew:+.0f} s from the store's", "set the clock by NTP: signatures fail, and times mislead")
    return "as the store's"


def _sandbox(_settings: Settings) -> str:
    if not sandbox.complete():
        raise Trouble(f"the kernel has only {sandbox.available()}", "a kernel with seccomp and Landlock (5.13)")
    return "seccomp and Landlock"


CHECKS = (
    Check("settings", _settings, "correct ASSET_PIPELINE_PIPELINES_FILE"),
    Check("events", _events, "see ASSET_PIPELINE_EVENTS and ASSET_PIPELINE_KAFKA_OPTIONS, and that Kafka runs"),
    Check("objects", _objects, "see ASSET_PIPELINE_OBJECTS, the S3 settings, and that the bucket is there"),
    Check("tables", _tables, "see ASSET_PIPELINE_TABLES and the S3 settings"),
    Check("index", _index, "see ASSET_PIPELINE_INDEX, and that Weaviate runs"),
    Check("models", _models, "install the package again"),
    Check("disk", _disk, "see ASSET_PIPELINE_OUT"),
    Check("clock", _clock, "see ASSET_PIPELINE_S3_ENDPOINT"),
    Check("sandbox", _sandbox, "see ASSET_PIPELINE_REQUIRE_SANDBOX"),
)
