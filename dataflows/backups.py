"""Backups: where they lie, what is in one, and how one is made beside running flows.

At the destination each backup has a folder of its own, named by its time: its tables, and in `store` its records, where
they lie in the place itself. Objects are shared by all backups of a destination. `backup.json` is written last.

The tables come first, each as it is then; the records after them: so all that a row tells of is there, and an asset
that is not in the tables yet is taken from its manifest. Of what was under way flows have the events, and `since` says
from when on they have to read them again; embedded the log of submissions is in the backup.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from deltalake.exceptions import DeltaError
from pydantic import AwareDatetime

from dataflows.connections import ensure_buckets, objects_of, store_at, table_options, table_uri
from dataflows.copying import Sum, Summing, copy_objects, copy_records, copy_table, summed
from dataflows.ownership import RESULTS, inbox_of
from dataflows.tables import ALL_TABLES, opened
from schemas.base import Model
from schemas.ports import ObjectStore, Stored
from schemas.settings import Settings
from schemas.topics import READ_BY
from sources.kafka_admin import KafkaAdmin
from sources.kafka_topic import appended_ms

BACKED_UP = ["backup", "what", "count", "copied"]
RECORDS = ("tombstones", "claims", "jobs", "originals", RESULTS, "dead-letters", "manifests")
ABOUT, INBOX, LISTED = "backup.json", "inbox/ingest.jsonl", "listed/objects.txt"
_TRIES = 5


class TableCopy(Model):
    """A table at one version, and the sum of the files that its copy is made of."""

    version: int
    rows: int
    files: Sum


class About(Model):
    """What is in a backup; `objects` is None for one without.

    `since` says for each flow when the oldest input came that it had not finished.
    """

    format: Literal["asset-pipeline/backup/1"] = "asset-pipeline/backup/1"
    at: AwareDatetime
    tables: dict[str, TableCopy]
    records: dict[str, Sum]
    objects: int | None = None
    since: dict[str, AwareDatetime] = {}


class Backup:
    """One backup at a destination, a folder or `s3://bucket/prefix` of the settings' account.

    `place` are settings that look into the backup as if it was in use; `shared` has the objects of all backups.
    """

    def __init__(self, settings: Settings, destination: str, name: str) -> None:
        root = destination.rstrip("/") if destination.startswith("s3://") else str(Path(destination).absolute())
        self.url, self.name = f"{root}/{name}", name
        bare = {"events": "", "index": "", "objects": "", "tables": "", "public_url": "", "s3_tags": False}
        bare |= {"s3_storage_classes": {}}
        if root.startswith("s3://"):
            bare |= {"objects": f"{self.url}/store", "tables": f"{self.url}/tables"}
        self.place = settings.model_copy(update={**bare, "out": Path(f"{root}/{name}")})
        self.shared = store_at(self.place, root if root.startswith("s3://") else Path(root).as_uri())
        self.scratch = settings.below("scratch")

    @classmethod
    def at(cls, settings: Settings, source: str) -> Backup:
        """The backup at this address. Raises ValueError for none."""
        url = source.rstrip("/") if source.startswith("s3://") else str(Path(source).absolute())
        root, _, name = url.rpartition("/")
        if root in ("", "s3:/") or not (root.startswith("s3://") or Path(url).is_dir()):
            raise ValueError(f"{source!r} is not the folder of a backup")
        return cls(settings, root, name)

    @property
    def store(self) -> ObjectStore:
        """The records."""
        return objects_of(self.place)

    async def about(self) -> About | None:
        """What is in it; None for one that was not finished. Raises ValueError for what is no backup's."""
        data = await self.shared.get(f"{self.name}/{ABOUT}")
        return None if data is None else About.model_validate_json(data)

    async def sum_of_files(self, table: str) -> Sum:
        """Of the files of a table's copy, which are read one after the other."""
        return await summed(self.shared, f"{self.name}/tables/{table}", at_once=1)

    async def objects(self) -> list[Stored]:
        """The objects that were there."""
        lines = ((await self.store.get(LISTED)) or b"").decode().splitlines()
        parts = (line.split(" ") for line in lines)
        return [Stored(tenant, sha256, int(size), 0, "") for tenant, sha256, size in parts]


async def back_up(settings: Settings, destination: str, with_objects: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """Makes a backup: what is in it, and which objects are damaged, which are left out.

    Flows may run meanwhile. Raises store_unavailable, OSError or DeltaError, RuntimeError if Kafka does not answer.
    """
    at = datetime.now(UTC)
    made = Backup(settings, destination, f"{at:%Y%m%dT%H%M%S.%fZ}")
    await ensure_buckets(made.place)
    since = await asyncio.to_thread(_since, settings, at)
    tables = {name: table for name in ALL_TABLES if (table := await _table(settings, made, name))}
    store = objects_of(settings)
    records = {prefix: await copy_records(store, made.store, prefix) for prefix in RECORDS}
    records["inbox"] = await _file(made.store, INBOX, await asyncio.to_thread(_inbox, settings))
    objects, copied, damaged = list[Stored](), 0, list[str]()
    if with_objects:
        objects, copied, damaged = await _objects(made, store)
        lines = "".join(f"{each.tenant} {each.sha256} {each.bytes}\n" for each in objects)
        records["listed"] = await _file(made.store, LISTED, lines.encode())
    about = About(
        at=at, tables=tables, records=records, objects=len(objects) if with_objects else None, since=since
    )  # fmt: skip
    await made.shared.create(f"{made.name}/{ABOUT}", about.model_dump_json(indent=1).encode())
    return _rows(made, about, copied), damaged


async def _table(settings: Settings, made: Backup, name: str) -> TableCopy | None:
    """A copy of the table as it is now; again where a deletion removes files of that version meanwhile."""
    uri, options = table_uri(made.place, name), table_options(made.place)
    for _ in range(_TRIES):
        table = opened(settings, name)
        if table is None:
            return None
        try:
            rows = await asyncio.to_thread(copy_table, table, uri, options)
        except (OSError, DeltaError):
            newest = opened(settings, name)
            if newest is None or newest.version() == table.version():
                raise
        else:
            return TableCopy(version=table.version(), rows=rows, files=await made.sum_of_files(name))
    raise OSError(f"the table {name} is changed again and again")


def _inbox(settings: Settings) -> bytes:
    path = inbox_of(settings)
    return path.read_bytes() if path.exists() else b""


async def _file(store: ObjectStore, key: str, data: bytes) -> Sum:
    """Keeps one file among the records, under a key whose beginning is its kind."""
    total = Summing()
    total.add(key, await store.create(key, data))
    return total.sum()


async def _objects(made: Backup, store: ObjectStore) -> tuple[list[Stored], int, list[str]]:
    found = await store.stored()
    made.scratch.mkdir(parents=True, exist_ok=True)
    await made.shared.sweep()
    copied, damaged = await copy_objects(store, made.shared, found, made.scratch, {})
    kept = {(each.tenant, each.sha256): each.bytes for each in await made.shared.stored()}
    return [each for each in found if kept.get((each.tenant, each.sha256)) == each.bytes], copied, damaged


def _since(settings: Settings, at: datetime) -> dict[str, datetime]:
    """For each flow that has ever finished anything, when the oldest input came that it has not finished."""
    if not settings.events:
        return {}
    admin, times = KafkaAdmin(settings), dict[str, datetime]()
    for flow, topic in READ_BY.items():
        committed, ends = admin.committed(topic, flow), admin.end_offsets(topic)
        if any(place.offset is not None for place in committed.values()):
            behind = {n: place.offset or 0 for n, place in committed.items() if (place.offset or 0) < ends[n]}
            came = appended_ms(settings, topic, behind) if behind else {}
            times[flow] = min([at, *(datetime.fromtimestamp(ms / 1000, UTC) for ms in came.values())])
    return times


def _rows(made: Backup, about: About, copied: int) -> list[dict[str, Any]]:
    counts = [(f"table {name}", table.rows, table.rows) for name, table in about.tables.items()]
    counts += [(name, about.records[name].count, about.records[name].count) for name in RECORDS]
    counts += [("objects", about.objects, copied)] if about.objects is not None else []
    return [{"backup": made.url, "what": what, "count": count, "copied": new} for what, count, new in counts]
