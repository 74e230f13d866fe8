"""What our sinks to Weaviate and Delta Lake take a second, against the servers' own clients with the same batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import bytewax.operators as op
import numpy as np
import pyarrow as pa
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main
from bytewax.testing import TestingSource
from deltalake import write_deltalake

from bench.stream.rows import Row
from dataflows.connections import opened_index, table_options, table_uri
from schemas import ids
from schemas.arrow import arrow_schema
from schemas.ports import IndexEntry
from schemas.settings import Settings
from schemas.tables import LineageRow
from sinks.delta import DeltaSink
from sinks.delta_table import WRITER, open_table
from sinks.weaviate_index import AT_ONCE, BATCH, WeaviateIndex
from sinks.weaviate_rows import MOMENTS, object_of, vector_name

_SPACE, _DIMENSION = "bench", 384
_ROWS = 10_000  # in an epoch, and so in an append
_SCHEMA = arrow_schema(LineageRow)
_LATER_MS = 3_600_000


def rows(settings: Settings, entries: int, appends: int, rounds: int) -> list[Row]:
    """Both sinks; so many index entries, and so many appends of 10,000 rows."""
    return [asyncio.run(_weaviate(settings, entries, rounds)), _delta(settings, appends, rounds)]


async def _weaviate(settings: Settings, count: int, rounds: int) -> Row:
    ours, theirs = [], []
    async with opened_index(settings) as index:
        assert isinstance(index, WeaviateIndex)
        await index.put(_SPACE, _entries("first", BATCH))
        for number in range(rounds):
            entries = _entries(f"ours{number}", count)
            started = time.perf_counter()
            await index.put(_SPACE, entries)
            ours.append(count / (time.perf_counter() - started))
            theirs.append(await _raw_weaviate(index, f"raw{number}", count))
    return Row.of("Weaviate sink against its client: objects/s", ours, theirs, 0.9)


def _entries(tenant: str, count: int) -> list[IndexEntry]:
    vectors = np.random.default_rng(0).normal(size=(count, _DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        IndexEntry(
            id=str(uuid4()), asset_id=f"asset-{n // 10}", tenant=tenant, kind="video", moment=f"{n}.000-{n + 1}.000",
            start_s=n, end_s=n + 1, title="A title of five words", tags=("tag",), language="en",
            text="What is said in a moment, as long as a sentence is", vector=tuple(vector.tolist()),
        )
        for n, vector in enumerate(vectors)
    ]  # fmt: skip


async def _raw_weaviate(index: WeaviateIndex, tenant: str, count: int) -> float:
    """The same objects, made before, by as many requests at once."""
    objects = [object_of(entry, _SPACE, vector_name(_SPACE, _DIMENSION)) for entry in _entries(tenant, count)]
    collection = await index._collections.of(MOMENTS, tenant)
    batches = (objects[start : start + BATCH] for start in range(0, count, BATCH))

    async def send() -> None:
        for batch in batches:
            if (await collection.data.insert_many(batch)).has_errors:
                raise RuntimeError("Weaviate refuses objects")

    started = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(AT_ONCE)))
    return count / (time.perf_counter() - started)


def _delta(settings: Settings, appends: int, rounds: int) -> Row:
    pairs = [(_sink(settings, _lineage(appends)), _raw_delta(settings, _lineage(appends))) for _ in range(rounds)]
    ours, theirs = zip(*pairs, strict=True)
    return Row.of("Delta sink against its client: rows/s", ours, theirs, 0.9)


def _lineage(appends: int) -> list[dict[str, Any]]:
    """Rows of assets that come in once the process runs, as most do: no table has to be asked for them."""
    job, accepted_ms = uuid4().hex, time.time_ns() // 10**6 + _LATER_MS
    return [
        LineageRow(
            row_id=ids.row_id(accepted_ms + n, "lineage", job, n), asset_id=job, job_id=job, tenant="bench",
            source=f"{n:064x}", target=f"{n + 1:064x}", target_name=f"rendition-{n}", stage="derive", step="rendition",
            version="1", params=f'{{"height":{n}}}', result_id=f"{n:064x}",
        ).model_dump()
        for n in range(appends * _ROWS)
    ]  # fmt: skip


def _sink(settings: Settings, found: Sequence[dict[str, Any]]) -> float:
    """A flow whose every batch is an epoch."""
    sink = DeltaSink(table_uri(settings, uuid4().hex), _SCHEMA, table_options(settings))
    flow = Dataflow("rows")
    read = op.input("read", flow, TestingSource(found, batch_size=_ROWS))
    op.output("table", op.key_on("key", read, lambda row: row["row_id"]), sink)
    started = time.perf_counter()
    cli_main(flow, epoch_interval=timedelta(0))
    return len(found) / (time.perf_counter() - started)


def _raw_delta(settings: Settings, found: Sequence[dict[str, Any]]) -> float:
    started = time.perf_counter()
    table = open_table(table_uri(settings, uuid4().hex), _SCHEMA, table_options(settings))
    for start in range(0, len(found), _ROWS):
        batch = pa.Table.from_pylist(found[start : start + _ROWS], schema=_SCHEMA)
        write_deltalake(table, batch, mode="append", writer_properties=WRITER)
    return len(found) / (time.perf_counter() - started)
