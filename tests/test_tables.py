"""The Delta tables in a folder and on S3: reading, time travel, new columns, maintenance and deletion."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kept_runs
import obstore
import pyarrow as pa
import pytest
from buckets import ACCOUNT, bucket
from flow_runs import PROGRAM

from chaos.servers import S3, S3_KEY, S3_SECRET
from dataflows import deleting, lineage, maintenance, queries, tables
from dataflows.connections import objects_of, table_options, table_uri
from schemas.arrow import arrow_schema
from schemas.ids import row_id
from schemas.settings import Settings
from schemas.tables import TABLES, VariantRow
from sinks.delta_table import Appender, compact, open_table
from sinks.s3_bucket import Bucket

ON_S3 = pytest.param("s3", marks=pytest.mark.services)
KEYS = {"s3_endpoint": S3, "s3_access_key": S3_KEY, "s3_secret_key": S3_SECRET}


@pytest.fixture(params=["folder", ON_S3])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Settings of tables in a folder, and on S3."""
    if request.param == "folder":
        yield Settings(out=tmp_path)
    else:
        with bucket() as url:
            yield Settings(out=tmp_path, tables=url, **KEYS)


def appender(settings: Settings, name: str = "variants", **options: Any) -> Appender:
    """What appends to a table."""
    table = open_table(table_uri(settings, name), arrow_schema(TABLES[name]), table_options(settings))
    return Appender(table, **options)


def variants(asset: str, accepted_ms: int, count: int = 3) -> pa.Table:
    """Rows of an asset."""
    columns: dict[str, Any] = dict.fromkeys(VariantRow.model_fields, "") | {"manifest_version": 1, "bytes": 10}
    rows = [
        {**columns, "row_id": row_id(accepted_ms, "variants", asset, n), "asset_id": asset, "name": f"{asset}-{n}"}
        for n in range(count)
    ]
    return pa.Table.from_pylist(rows, schema=arrow_schema(VariantRow))


def names(settings: Settings, *assets: str, **options: Any) -> list[str]:
    """The names in an asset's rows, or in all."""
    return sorted(row["name"] for row in queries.rows(settings, "variants", assets or None, **options))


def test_an_assets_rows_are_found_by_when_it_was_accepted(settings: Settings):
    """With the time the same rows are found as without, and rows of an asset that was accepted at another are not."""
    assert queries.rows(settings, "variants", ["a"]) == []
    rows = appender(settings)
    for asset, at in (("a", 1_000), ("b", 1_000), ("a", 5_000)):
        rows.append(variants(asset, at), set())
    assert names(settings, "a", accepted=[1_000, 5_000]) == names(settings, "a") == sorted(["a-0", "a-1", "a-2"] * 2)
    assert names(settings, "a", accepted=[5_000]) == ["a-0", "a-1", "a-2"]
    assert names(settings, accepted=[4_000]) == []
    assert names(settings, "a", "b", name="b-1") == ["b-1"]


class WiderRow(VariantRow):
    """Rows of a later version of the program."""

    note: str = "none"
    marks: tuple[str, ...] = ()
    pages: int | None = None


def test_a_new_column_reads_as_its_default(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """Rows that are older than a column have its default, before and after the table itself has the column."""
    appender(settings).append(variants("a", 1, 1), set())
    monkeypatch.setitem(TABLES, "variants", WiderRow)
    wanted = {"note": "none", "marks": [], "pages": None}
    found = [queries.rows(settings, "variants", columns=list(wanted))]
    later = variants("b", 2, 1).to_pylist()[0] | {"note": "new", "marks": ["x"], "pages": 4}
    appender(settings).append(pa.Table.from_pylist([later], schema=arrow_schema(WiderRow)), set())
    found.append(queries.rows(settings, "variants", ["a"], columns=list(wanted)))
    assert found == [[wanted], [wanted]]
    assert queries.rows(settings, "variants", ["b"], columns=list(wanted)) == [{k: later[k] for k in wanted}]


def test_a_table_is_read_as_it_was(settings: Settings):
    """At each time its rows of then are found, none before the first, all after the last, whatever was joined since."""
    rows, times = appender(settings, "variants"), [datetime.now(UTC)]
    for n in range(4):
        rows.append(variants(f"a{n}", n, 1), set())
        times.append(datetime.now(UTC))
        time.sleep(0.05)
    compact(tables.opened(settings, "variants"))
    assert [len(names(settings, as_of=at)) for at in times] == [0, 1, 2, 3, 4]
    assert names(settings, as_of=times[-1] + timedelta(days=1)) == names(settings)


def test_a_moment_is_a_time_or_a_version(settings: Settings):
    """A time without a zone is UTC, a number is a version of the table `lineage`; what is neither is refused."""
    assert tables.moment(settings, "2026-02-03T04:05:06") == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert tables.moment(settings, "2026-02-03T04:05:06+02:00").utcoffset() == timedelta(hours=2)
    with pytest.raises(ValueError, match="no table"):
        tables.moment(settings, "3")
    before = datetime.now(UTC)
    edges = appender(settings, "lineage")
    row = dict.fromkeys(TABLES["lineage"].model_fields, "") | {"row_id": row_id(1, "lineage", 1)}
    edges.append(pa.Table.from_pylist([row], schema=arrow_schema(TABLES["lineage"])), set())
    assert before - timedelta(seconds=1) < tables.moment(settings, "1") < datetime.now(UTC)
    for when in ("99", "yesterday"):
        with pytest.raises(ValueError):
            tables.moment(settings, when)


def test_time_travel_ends_at_a_deletion(settings: Settings):
    """What is read from before it says so, instead of a part of the rows."""
    appender(settings).append(pa.concat_tables([variants("a", 1), variants("b", 2)]), set())
    then = datetime.now(UTC)
    assert tables.drop_rows(settings, "variants", "a") == 3
    with pytest.raises(ValueError, match="not there any more"):
        names(settings, as_of=then)
    assert names(settings) == ["b-0", "b-1", "b-2"]


def files(settings: Settings) -> set[str]:
    """The files of the table."""
    return set(tables.opened(settings, "variants").file_uris())


def test_a_deletion_touches_only_files_with_the_assets_rows(settings: Settings):
    """Other files stay as they are; of an asset that is not there nothing is removed."""
    rows = appender(settings)
    for part in (("a", 1), ("b", 10**10), ("c", 10**11)):
        rows.append(variants(*part), set())
    rows.append(pa.concat_tables([variants("d", 10**11, 50), variants("a", 10**12)]), set())
    before = files(settings)
    assert tables.drop_rows(settings, "variants", "nobody") == 0
    assert files(settings) == before
    assert tables.drop_rows(settings, "variants", "a") == 6
    assert len(files(settings) & before) == 2 and len(names(settings)) == 56 and names(settings, "a") == []


def test_an_append_looks_again_where_a_deletion_took_the_files(settings: Settings):
    """A version in hand names files that another process has deleted since: nothing fails, nothing is there twice."""
    appender(settings).append(pa.concat_tables([variants("gone", 1), variants("kept", 1)]), set())
    deletions = [lambda: tables.drop_rows(settings, "variants", "gone")]

    def deleted(rows: pa.Table) -> pa.Table:
        while deletions:
            assert deletions.pop()() == 3
        return rows

    rows = variants("kept", 1)
    patience_s = 5.0 if settings.tables else 0.0  # S3 says no more than that something failed
    appender(settings, wanted=deleted, patience_s=patience_s).append(rows, set(rows["row_id"].to_pylist()))
    assert sorted(names(settings)) == ["kept-0", "kept-1", "kept-2"]


@contextmanager
def busy(settings: Settings) -> Iterator[list[str]]:
    """A writer and a compactor at work; the assets that were written so far."""
    stop, written = threading.Event(), list[str]()

    def write() -> None:
        rows = appender(settings)
        while not stop.is_set():
            rows.append(variants(asset := uuid.uuid4().hex, len(written) % 7), {"-"})
            written.append(asset)

    def join() -> None:
        table = tables.opened(settings, "variants")
        while not stop.wait(0.1):
            table.update_incremental()
            compact(table)

    threads = [threading.Thread(target=work) for work in (write, join)]
    for thread in threads:
        thread.start()
    try:
        yield written
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_deletion_beside_writers_loses_nothing_of_others(settings: Settings):
    """While one process appends and one compacts, assets are deleted: theirs is gone, all else there once."""
    rows, gone = appender(settings), [f"gone-{n}" for n in range(3)]
    for asset in gone:
        rows.append(variants(asset, 3), set())
    with busy(settings) as written:
        for asset in gone:
            assert tables.drop_rows(settings, "variants", asset) == 3
            time.sleep(0.2)
    assert Counter(names(settings)) == Counter(f"{asset}-{n}" for asset in written for n in range(3))
    assert len(written) > 3


def test_maintenance_joins_files_and_keeps_the_rows(settings: Settings):
    """Beside a writer: few files are left, a checkpoint is there, and what was is still read as it was."""
    rows = appender(settings)
    for n in range(12):
        rows.append(variants(f"a{n}", n), set())
    then = datetime.now(UTC)
    with busy(settings) as written:
        time.sleep(0.5)
        (told,) = tables.maintain(settings)
    assert list(told) == tables.MAINTAINED
    assert told["table"] == "variants" and told["rows"] >= 36 and told["files"] < told["files_before"] + 2
    assert len(names(settings)) == 36 + 3 * len(written)
    assert len(names(settings, as_of=then)) == 36


def test_vacuum_removes_what_is_old_and_not_what_is_being_written(tmp_path: Path):
    """A file that a killed writer left a month ago goes; one of just now may be about to be committed."""
    settings = Settings(out=tmp_path)
    appender(settings).append(variants("a", 1), set())
    old, new = (tmp_path / "tables" / "variants" / f"{name}.parquet" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (time.time() - 30 * 86_400,) * 2)
    assert tables.maintain(settings)[0]["vacuumed"] == 1
    assert not old.exists() and new.exists() and len(names(settings)) == 3


@pytest.fixture(params=["folder", ON_S3])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """A finished run, with its tables where they were or on S3."""
    place = kept_runs.kept(tmp_path)
    if request.param == "folder":
        yield place.settings
        return
    with bucket() as url:
        found = Settings(out=place.out, tables=url, **KEYS)
        store = Bucket(url, ACCOUNT).records()
        for path in (place.out / "tables").rglob("*.*"):
            obstore.put(store, str(path.relative_to(place.out / "tables")), path.read_bytes())
        (place.out / "tables").rename(place.out / "moved")
        yield found


def graph(settings: Settings, name: str, as_of: datetime | None = None) -> lineage.Graph:
    """An asset's lineage."""
    found = lineage.graph_of(settings, objects_of(settings), kept_runs.called(name), as_of=as_of)
    return asyncio.run(found)


def test_everything_is_answered_from_the_tables(run: Settings):
    """States, histories, lineage and verification say the same wherever the tables lie; a deletion leaves no row."""
    states = {row["name"]: row["state"] for row in queries.overview(run)}
    assert states == {name: "failed" if name == "broken.pdf" else "completed" for name in kept_runs.NAMES}
    assert {"ingest", "publish"} <= {event.stage for event in queries.history(run, kept_runs.called("two.png"))}
    assert graph(run, "two.png").published and graph(run, "broken.pdf").runs
    assert asyncio.run(maintenance.verify(run)).clean
    asyncio.run(deleting.delete(run, kept_runs.called("two.png")))
    assert all(not queries.rows(run, name, [kept_runs.called("two.png")]) for name in TABLES)
    assert asyncio.run(maintenance.verify(run)).clean


def publish_again(settings: Settings, name: str) -> None:
    """A second receipt of an asset comes into the table."""
    receipt = queries.rows(settings, "lineage", [kept_runs.called(name)], stage="publish")[0]
    again = receipt | {"row_id": f"{receipt['row_id'][:14]}{'0' * 32}", "target_name": "v2", "target": "folder://v2"}
    rows = pa.Table.from_pylist([again], schema=arrow_schema(TABLES["lineage"]))
    appender(settings, "lineage").append(rows, set())


def test_the_lineage_as_it_was(run: Settings):
    """A receipt of later is not in the graph of before, and before the asset came there is none."""
    first, then = graph(run, "one.png"), datetime.now(UTC)
    publish_again(run, "one.png")
    assert len(graph(run, "one.png").published) == len(first.published) + 1
    assert graph(run, "one.png", then).nodes == first.nodes
    assert not graph(run, "one.png", datetime(2020, 1, 1, tzinfo=UTC)).runs


def command(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs the program with these settings."""
    given = {
        "TABLES": settings.tables,
        **({key.upper(): value for key, value in KEYS.items()} if settings.tables else {}),
    }
    environment = os.environ | {f"ASSET_PIPELINE_{key}": value for key, value in given.items()}
    call = [str(PROGRAM), *words, "--out", str(settings.out)]
    return subprocess.run(call, capture_output=True, text=True, check=False, env=environment)


def test_the_commands(run: Settings):
    """`compact` tells of each table; `lineage --as-of` takes a version, and refuses what was never there."""
    done = command(run, "compact", "--json")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["table"] for line in done.stdout.splitlines()] == list(TABLES)
    publish_again(run, "one.png")
    version = tables.opened(run, "lineage").version()
    done = command(run, "lineage", "one.png", "--as-of", str(version), "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["asset_id"] == kept_runs.called("one.png")
    assert command(run, "lineage", "one.png", "--as-of", "2020-01-01").returncode == 3
    refused = command(run, "lineage", "one.png", "--as-of", str(version + 100))
    assert refused.returncode == 2 and "no version" in refused.stderr
