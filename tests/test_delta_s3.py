"""The Delta sink on S3: several writers at once, kills and handovers, and the store away."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from buckets import bucket
from delta_writers import PARTITIONS, ROWS, SCHEMA, Share, started
from deltalake import DeltaTable

from chaos.servers import S3, S3_KEY, S3_SECRET
from dataflows.connections import table_options
from schemas.settings import Settings
from sinks.delta_table import compact, open_table

pytestmark = pytest.mark.services
ASSETS = 60


def settings_at(url: str, endpoint: str = S3) -> Settings:
    """Settings of tables on S3."""
    return Settings(tables=url, s3_endpoint=endpoint, s3_access_key=S3_KEY, s3_secret_key=S3_SECRET)


OPTIONS = table_options(settings_at("s3://any"))


@pytest.fixture
def uri() -> Iterator[str]:
    """A table's place in a bucket of its own."""
    with bucket() as url:
        yield f"{url}/table"


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
    open_table(uri, SCHEMA, OPTIONS)
    with compacting(uri):
        for round_, processes in enumerate((3, 2)):
            shares = [Share(tmp_path, uri, OPTIONS, ASSETS, f"{round_}-{p}", p, processes) for p in range(processes)]
            for again in range(2):
                running = [started(share) for share in shares]
                _wait(tmp_path, rng.randrange(30, 70), running)
                for process in running:
                    process.kill()
                    process.join()
                if again == 0 and rng.random() < 0.5:
                    shutil.rmtree(tmp_path / shares[0].store, ignore_errors=True)
        last = [started(Share(tmp_path, uri, OPTIONS, ASSETS, f"last-{p}", p, 3)) for p in range(3)]
        for process in last:
            process.join(60)
    assert [process.exitcode for process in last] == [0, 0, 0]
    assert counts(uri) == {f"asset-{p}-{n}": ROWS for p in range(PARTITIONS) for n in range(ASSETS)}


def _wait(folder: Path, more: int, running: list) -> None:
    """Until so many more assets were taken, or all."""
    target = _accepted(folder) + more
    while _accepted(folder) < min(target, PARTITIONS * ASSETS) and any(p.is_alive() for p in running):
        time.sleep(0.02)


def _accepted(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.accepted"))
