"""A Delta table's layout: lookups by time, compaction beside others, and columns that come later."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from delta_rows import ASSETS, ids_in, read_table, rows_at, write
from deltalake import DeltaTable

from chaos.waiting import eventually
from schemas.ids import row_id
from sinks.delta import DeltaSink
from sinks.delta_table import Appender, RecentIds, columns_of, compact, open_table, spans


def test_recent_ids_never_call_a_known_id_new():
    """In any order, an id that was added is remembered or not above the floor, and memory stays bounded."""
    recent, numbers = RecentIds(10, "0050"), list(range(200))
    random.Random(2).shuffle(numbers)
    for count, n in enumerate(numbers):
        assert recent.add(f"{n:04d}")
        assert all(not recent.add(f"{m:04d}") or recent.doubtful(f"{m:04d}") for m in numbers[:count:17])
        assert len(recent._new) + len(recent._old) <= 20
    assert RecentIds(10, "0050").doubtful("0050") and not RecentIds(10, "0050").doubtful("0051")


def test_old_ids_are_looked_up_by_statistics(tmp_path: Path):
    """A lookup opens only the files of its time, also once the table has been compacted: the others may be gone."""
    uri = str(tmp_path / "t")
    appender, hours = Appender(open_table(uri, ASSETS)), [hour * 3_600_000 for hour in range(4)]
    for hour in hours:
        appender.append(pa.Table.from_pylist(rows_at(hour, 10), schema=ASSETS), set())
    old = set((tmp_path / "t").glob("*.parquet"))
    appender.append(pa.Table.from_pylist(rows_at(9 * 3_600_000, 10), schema=ASSETS), set())
    for path in old:
        path.unlink()
    again = pa.Table.from_pylist(rows_at(9 * 3_600_000, 12), schema=ASSETS)
    appender.append(again, set(again["row_id"].to_pylist()))
    assert appender.files() == 6
    assert pa.table(DeltaTable(uri).get_add_actions())["num_records"].to_pylist()[0] == 2


def test_a_floor_is_above_all_that_others_may_write(tmp_path: Path):
    """It is above the present, and above what the table has of a future that a producer made up."""
    table = open_table(str(tmp_path / "t"), ASSETS)
    appender, now = Appender(table), time.time_ns() // 1_000_000
    assert appender.floor() > row_id(now + 5_000, "rows", 1)
    future = rows_at(now + 10**9, 10)
    appender.append(pa.Table.from_pylist(future, schema=ASSETS), set())
    compact(table)
    assert appender.floor() == max(row["row_id"] for row in future)


def test_ranges_of_ids_are_few_and_narrow():
    """Every id is in a range; ids hours apart are in ranges of their own, unless there are many."""
    hours = [hour * 3_600_000 for hour in (0, 0, 5, 5, 5, 400_000)]
    ids = [row_id(at, "rows", n) for n, at in enumerate(hours)]
    found = spans(set(ids))
    assert [sum(low <= each <= high for each in ids) for low, high in found] == [2, 3, 1]
    many = [row_id(hour * 7_200_000, "rows", hour) for hour in range(100)]
    assert spans(many) == [(many[0], many[-1])]


def test_small_files_are_joined_now_and_then(tmp_path: Path):
    """Every so many versions the files are joined, a checkpoint is written, and the rows stay."""
    uri = str(tmp_path / "t")
    for n in range(60):
        write(DeltaSink(uri, ASSETS, compact_every=20), rows_at(n, 2))
    assert len(DeltaTable(uri).file_uris()) < 25 and len(ids_in(tmp_path / "t")) == 120
    assert list((tmp_path / "t" / "_delta_log").glob("*.checkpoint.parquet"))


@pytest.mark.parametrize("at_once", [False, True], ids=["one_after_the_other", "at_once"])
def test_two_compactions_double_nothing(tmp_path: Path, at_once: bool):
    """Of compactions that began with the same files one goes through, and each row is there once."""
    uri = str(tmp_path / "t")
    for n in range(6):
        write(DeltaSink(uri, ASSETS), rows_at(n, 2))
    stale = [DeltaTable(uri) for _ in range(3)]
    threads = [threading.Thread(target=compact, args=(table,)) for table in stale]
    for thread in threads:
        thread.start()
        if not at_once:
            thread.join()
    for thread in threads:
        thread.join()
    assert len(ids_in(tmp_path / "t")) == 12 and len(DeltaTable(uri).file_uris()) == 1


def test_a_new_column_comes_while_an_older_writer_goes_on(tmp_path: Path):
    """Old rows have no value in it; a process that does not know it keeps writing, and takes nothing away."""
    uri, wider = str(tmp_path / "t"), ASSETS.append(pa.field("size", pa.int64(), nullable=False))
    older = DeltaSink(uri, ASSETS).build_part("step", "rows", None)
    older.write_batch(rows_at(1, 2))
    older.snapshot()
    assert eventually(lambda: len(ids_in(tmp_path / "t")) == 2)
    write(DeltaSink(uri, wider), rows_at(2, 2, size=7))
    older.write_batch(rows_at(3, 2))
    older.close()
    write(DeltaSink(uri, wider), rows_at(4, 1, size=8))
    write(DeltaSink(uri, ASSETS), rows_at(5, 1))
    found = {row["row_id"][:13]: row["size"] for row in read_table(uri).to_pylist()}
    assert found == {f"{at:013d}": size for at, size in {1: None, 2: 7, 3: None, 4: 8, 5: None}.items()}


def test_processes_widen_a_table_at_once(tmp_path: Path):
    """Several processes that bring the same new columns all find them there once."""
    uri, wider = str(tmp_path / "t"), pa.schema([*ASSETS, ("a", pa.string()), ("b", pa.list_(pa.string()))])
    open_table(uri, ASSETS)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _n: columns_of(open_table(uri, wider)), range(4)))
    assert found == [wider.names] * 4
