"""Copies of tables, records and objects from one place to another, and sums by which a copy is known to be whole."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from schemas.asset import ObjectKind
from schemas.base import Model
from schemas.errors import AssetError
from schemas.ports import ObjectStore, Stored
from sinks.delta_table import FILE_BYTES, ROW_ID, WRITER, open_table

RECORDS_AT_ONCE, FILES_AT_ONCE = 32, 4
_UNKNOWN = "application/octet-stream", ObjectKind.ORIGINAL
T = TypeVar("T")
# a file's media type and kind, by its digest
Types = dict[str, tuple[str, ObjectKind]]


class Sum(Model):
    """How many records there are, and the SHA-256 of them all: of their keys and contents, in the keys' order."""

    count: int
    sha256: str


class Summing:
    """Sums records as they come by."""

    def __init__(self) -> None:
        self._count, self._digest = 0, hashlib.sha256()

    def add(self, key: str, data: bytes) -> None:
        """One more, its key relative to where the records lie."""
        self._count += 1
        self._digest.update(key.encode() + b"\n" + hashlib.sha256(data).digest())

    def sum(self) -> Sum:
        """Of those so far."""
        return Sum(count=self._count, sha256=self._digest.hexdigest())


def parts_of(found: Iterable[T], size: int) -> Iterator[list[T]]:
    """The same in lists of so many."""
    rest = iter(found)
    while part := list(islice(rest, size)):
        yield part


async def _read(store: ObjectStore, prefix: str, at_once: int) -> AsyncIterator[list[tuple[str, bytes]]]:
    """All records below a prefix, in the order of their keys; one that is deleted meanwhile is left out."""
    for keys in parts_of(await store.keys(prefix), at_once):
        found = zip(keys, await asyncio.gather(*(store.get(key) for key in keys)), strict=True)
        yield [(key, data) for key, data in found if data is not None]


async def summed(store: ObjectStore, prefix: str, at_once: int = RECORDS_AT_ONCE) -> Sum:
    """The sum of the records below a prefix."""
    total = Summing()
    async for part in _read(store, prefix, at_once):
        for key, data in part:
            total.add(key, data)
    return total.sum()


async def copy_records(
    source: ObjectStore, target: ObjectStore, prefix: str, wanted: Callable[[str], bool] = lambda _key: True
) -> Sum:
    """Creates the records that are wanted by their key, if absent; the sum of these."""
    total = Summing()
    async for part in _read(source, prefix, RECORDS_AT_ONCE):
        part = [(key, data) for key, data in part if wanted(key)]
        await asyncio.gather(*(target.create(key, data) for key, data in part))
        for key, data in part:
            total.add(key, data)
    return total.sum()


def rows_of(table: DeltaTable | None) -> int:
    """How many rows a table has; none if it is not there."""
    return 0 if table is None else pc.sum(pa.table(table.get_add_actions())["num_records"]).as_py() or 0


def copy_table(
    source: DeltaTable, uri: str, options: dict[str, str] | None,
    spare: Callable[[pa.RecordBatch], pa.RecordBatch] = lambda rows: rows,
) -> int:  # fmt: skip
    """Makes a table's rows, as of the version in hand, those of the table at a URI; how many there are then.

    Rows are streamed, a file after the other in the order of their ids, and come at once or not at all. `spare` leaves
    some out. Raises OSError or DeltaError, also where a file is removed meanwhile.
    """
    schema = pa.schema(source.schema())
    target = open_table(uri, schema, options)
    reader = pa.RecordBatchReader.from_batches(schema, map(spare, _apart(_batches(source, schema))))
    write_deltalake(
        target, reader, mode="overwrite", schema_mode="merge", writer_properties=WRITER, target_file_size=FILE_BYTES
    )
    return rows_of(target)


def _batches(source: DeltaTable, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    files = pa.table(source.get_add_actions(flatten=True))
    first = files[f"min.{ROW_ID}"] if f"min.{ROW_ID}" in files.column_names else files["path"]
    order = dict(zip(files["path"].to_pylist(), first.to_pylist(), strict=True))
    dataset = source.to_pyarrow_dataset()
    for fragment in sorted(dataset.get_fragments(), key=lambda each: order[each.path] or ""):
        yield from fragment.to_batches(schema=schema)


def _apart(found: Iterator[T]) -> Iterator[T]:
    """The same from a thread of its own: Delta Lake cannot read on the threads on which it writes."""
    with ThreadPoolExecutor(1) as thread:
        while (each := thread.submit(next, found, None).result()) is not None:
            yield each


async def copy_objects(
    source: ObjectStore, target: ObjectStore, wanted: Sequence[Stored], scratch: Path, types: Types
) -> tuple[int, list[str]]:
    """Copies the objects that are not there in their size; how many these were, and which are damaged.

    One that is removed meanwhile is left out.
    """
    there = {(each.tenant, each.sha256): each.bytes for each in await target.stored()}
    missing = [each for each in wanted if there.get((each.tenant, each.sha256)) != each.bytes]
    count, damaged = 0, list[str]()
    for part in parts_of(missing, FILES_AT_ONCE):
        found = await asyncio.gather(*(_copy(source, target, each, scratch, types) for each in part))
        for each, code in zip(part, found, strict=True):
            count += not code
            damaged += [f"{each.tenant}/{each.sha256}"] if code == "object_damaged" else []
    return count, damaged


async def _copy(source: ObjectStore, target: ObjectStore, object_: Stored, scratch: Path, types: Types) -> str:
    """The code of what is wrong, or ""."""
    tenant, sha256 = object_.tenant, object_.sha256
    try:
        async with source.local(tenant, sha256, scratch) as path:
            kept = await target.add_file(tenant, path, *types.get(sha256, _UNKNOWN))
    except AssetError as error:
        if error.code not in ("object_missing", "object_damaged"):
            raise
        return error.code
    if kept.sha256 == sha256:
        return ""
    await target.remove(tenant, kept.sha256)
    return "object_damaged"
