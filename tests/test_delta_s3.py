"""The Delta sink on S3: several writers at once, kills and handovers, and the store away."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import polars as pl
import pytest
from buckets import bucket
from delta_rows import ASSETS, rows_at
from delta_writers import PARTITIONS, ROWS, Share, started
from deltalake import DeltaTable

from chaos.servers import S3, S3_KEY, S3_SECRET, Proxy, proxy
from chaos.waiting import eventually
from dataflows.connections import table_options
from schemas.settings import Settings
from sinks.delta import DeltaSink
from sinks.delta_table import PASSING, compact, open_table

pytestmark = pytest.mark.services
COUNT = 60


def settings_at(url: str, endpoint: str = S3) -> Settings:
    """Settings of tables on S3."""
    return Settings(tables=url, s3_endpoint=endpoint, s3_access_key=S3_KEY, s3_secret_key=S3_SECRET)


OPTIONS = table_options(settings_at("s3://any"))


@pytest.fixture
def uri() -> Iterator[str]:
    """A table's place in a bucket of its own."""
    with bucket() as url:
        yield f"{url}/table"


@pytest.fixture
def faulty() -> Iterator[Proxy]:
    """A way to the server that faults can be put on."""
    with proxy(S3.removeprefix("http://")) as made:
        yield made


def counts(uri: str) -> Counter[str]:
    """How often each asset has a row."""
    return Counter(pl.scan_delta(uri, storage_options=OPTIONS).collect()["asset_id"].to_list())


@contextmanager
def compacting(uri: str) -> Iterator[None]:
    """Another process's compaction, over and over."""
    stop = threading.Event()

    def work() -> None:
        table = DeltaTable(uri, storage_options=OPTIONS)
        while not stop.wait(0.3):
            table.update_incremental()
            compact(table)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_and_handovers_lose_and_double_nothing(tmp_path: Path, uri: str, seed: int):
    """Three processes, then two, killed and started again; then three take over, without the recovery stores."""
    rng = random.Random(seed)
    open_table(uri, ASSETS, OPTIONS)
    with compacting(uri):
        for round_, processes in enumerate((3, 2)):
            shares = [Share(tmp_path, uri, OPTIONS, COUNT, f"{round_}-{p}", p, processes) for p in range(processes)]
            for again in range(2):
                running = [started(share) for share in shares]
                _wait(tmp_path, rng.randrange(30, 70), running)
                for process in running:
                    process.kill()
                    process.join()
                if again == 0 and rng.random() < 0.5:
                    shutil.rmtree(tmp_path / shares[0].store, ignore_errors=True)
        last = [started(Share(tmp_path, uri, OPTIONS, COUNT, f"last-{p}", p, 3)) for p in range(3)]
        for process in last:
            process.join(60)
    assert [process.exitcode for process in last] == [0, 0, 0]
    assert counts(uri) == {f"asset-{p}-{n}": ROWS for p in range(PARTITIONS) for n in range(COUNT)}


def _wait(folder: Path, more: int, running: list[BaseProcess]) -> None:
    """Until so many more assets were taken, or all."""
    target = _accepted(folder) + more
    while _accepted(folder) < min(target, PARTITIONS * COUNT) and any(p.is_alive() for p in running):
        time.sleep(0.02)


def _accepted(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.accepted"))


def test_an_outage_is_waited_for(uri: str, faulty: Proxy):
    """While S3 is away the flow goes on, its rows wait and their assets are known; they are there once it is back."""
    options = table_options(settings_at(uri, f"http://{faulty.address}"))
    sink = DeltaSink(uri, ASSETS, options, patience_s=60)
    partition = sink.build_part("step", "rows", None)
    with faulty.down():
        for epoch in range(4):
            partition.write_batch(rows_at(1, 2, f"away-{epoch}"))
            partition.snapshot()
            time.sleep(1)
        assert len(sink.waiting()) == 8
    assert eventually(lambda: not sink.waiting(), 30)
    partition.close()
    assert counts(uri) == {f"away-{epoch}-{n}": 1 for epoch in range(4) for n in range(2)}


def test_an_outage_that_outlasts_the_patience_ends_the_flow(uri: str, faulty: Proxy):
    """The flow ends with the store's error, and its snapshot has the rows for the next run."""
    options = table_options(settings_at(uri, f"http://{faulty.address}"))
    partition = DeltaSink(uri, ASSETS, options, patience_s=0.5).build_part("step", "rows", None)
    partition.write_batch(rows_at(1, 3))
    with faulty.down():
        kept = partition.snapshot()
        with pytest.raises(PASSING):
            while True:
                partition.write_batch([])
                time.sleep(0.1)
        partition.close()
    DeltaSink(uri, ASSETS, OPTIONS).build_part("step", "rows", kept).close()
    assert counts(uri) == {f"asset-{n}": 1 for n in range(3)}


def test_lost_answers_double_nothing(uri: str, faulty: Proxy):
    """With a fifth of all connections reset before the answer is heard, each row is there once."""
    options = table_options(settings_at(uri, f"http://{faulty.address}"))
    sink = DeltaSink(uri, ASSETS, options, patience_s=120)
    partition = sink.build_part("step", "rows", None)
    with faulty.reset(20):
        for epoch in range(15):
            partition.write_batch(rows_at(time.time_ns() // 1_000_000 + 10**6, 3, f"epoch-{epoch}"))
            partition.snapshot()
            assert eventually(lambda: not sink.waiting(), 60, 0.01)
    partition.close()
    assert counts(uri) == {f"epoch-{epoch}-{n}": 1 for epoch in range(15) for n in range(3)}


def test_many_writers_take_turns(uri: str):
    """Four writers at once, two of which compact every few versions, all get their rows in; few files are left."""

    def write(writer: int) -> None:
        sink = DeltaSink(uri, ASSETS, OPTIONS, compact_every=15 if writer < 2 else 10**9)
        partition = sink.build_part("step", "rows", None)
        for epoch in range(12):
            partition.write_batch(rows_at(time.time_ns() // 1_000_000 + 10**6, 3, f"{writer}-{epoch}"))
            partition.snapshot()
            assert eventually(lambda: not sink.waiting(), 60, 0.01)
        partition.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert counts(uri) == {f"{writer}-{epoch}-{n}": 1 for writer in range(4) for epoch in range(12) for n in range(3)}
    assert len(DeltaTable(uri, storage_options=OPTIONS).file_uris()) < 48
