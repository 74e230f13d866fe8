"""Processes that write rows of the same assets to one Delta table, each its share of the partitions, made to be killed.

A partition is a list of assets in a folder. As in a flow, the time at which an asset was accepted is the first one's
who took it, a process begins at its recovery store's offset, or without one at the offset below which all is finished.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from delta_rows import ASSETS

from operators.gate import Gate
from schemas.ids import row_id
from schemas.messages import Message
from sinks.delta import DeltaSink
from sources.finished import Finished
from sources.pulled import PulledSource
from sources.watermark import Watermark

PARTITIONS, ROWS = 6, 3


@dataclass(frozen=True)
class Share:
    """Of `processes` processes one, which reads the partitions p with p % processes == process; `store` is its own."""

    folder: Path
    uri: str
    options: dict[str, str] | None
    assets: int
    store: str
    process: int
    processes: int


class ListFeed:
    """A partition's list of assets, as a transport is one: it remembers what is finished."""

    def __init__(self, share: Share, partition: int, gate: Gate) -> None:
        self._share, self._partition, self._gate = share, partition, gate
        self._mark = share.folder / f"finished-{partition}"
        self._following = 0

    def start(self, offset: int | None) -> None:
        known = int(self._mark.read_text()) if self._mark.exists() else 0
        self._following = known if offset is None else offset

    def pull(self) -> list[Message]:
        if self._following == self._share.assets:
            self._end()
            return []
        self._following += 1
        time.sleep(0.002)  # work
        return [Message("list", self._partition, self._following - 1, None, b"", {})]

    def committed(self, offset: int) -> None:
        pass

    @property
    def position(self) -> int:
        return self._following

    def finished(self, finished: Finished) -> None:
        half = self._mark.with_suffix(f".{os.getpid()}")
        half.write_text(str(finished.offset))
        half.replace(self._mark)

    def _end(self) -> None:
        """Drains once all that the process reads is finished."""
        share = self._share
        marks = [share.folder / f"finished-{p}" for p in range(share.process, PARTITIONS, share.processes)]
        if all(mark.exists() and mark.read_text() == str(share.assets) for mark in marks):
            self._gate.drain()

    def retry(self, offset: int | None, delay_s: float) -> None:
        pass

    def close(self) -> None:
        pass


def accepted_ms(folder: Path, asset: str) -> int:
    """When the asset was accepted: a record that the first one makes, whole."""
    half, record = folder / f"{asset}.{os.getpid()}", folder / f"{asset}.accepted"
    half.write_text(str(time.time_ns() // 1_000_000))
    with suppress(FileExistsError):
        os.link(half, record)
    half.unlink()
    return int(record.read_text())


def rows_of(folder: Path, asset: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The asset's rows, the same whoever makes them."""
    accepted = accepted_ms(folder, asset)
    for n in range(ROWS):
        yield asset, {"row_id": row_id(accepted, "rows", asset, n), "asset_id": asset, "n": n}


def flow_of(share: Share) -> Dataflow:
    """lists -> rows -> table."""
    gate = Gate(64)
    sink = DeltaSink(share.uri, ASSETS, share.options, remembered=50, compact_every=30, patience_s=60)
    mine = [str(p) for p in range(share.process, PARTITIONS, share.processes)]
    marks = {p: Watermark(sink.waiting, gate.watch()) for p in mine}
    source = PulledSource({p: lambda p=int(p): ListFeed(share, p, gate) for p in mine}, gate, marks)

    def read(message: Message) -> list[tuple[str, dict[str, Any]]]:
        asset = f"asset-{message.partition}-{message.offset}"
        marks[str(message.partition)].hold([(message.offset, asset)])
        return list(rows_of(share.folder, asset))

    flow = Dataflow("writer")
    op.output("table", op.flat_map("rows", op.input("in", flow, source), read), sink)
    return flow


def write(share: Share) -> None:
    """Runs until all rows of the share are in the table."""
    store = share.folder / share.store
    if not store.exists():
        store.mkdir()
        init_db_dir(store, 1)
    run_main(flow_of(share), epoch_interval=timedelta(milliseconds=150), recovery_config=RecoveryConfig(store))
    os._exit(0)


def started(share: Share) -> SpawnProcess:
    """The share's process, running."""
    context = multiprocessing.get_context("spawn")  # a fork server would be this program's only one
    process = context.Process(target=write, args=(share,), daemon=True)
    process.start()
    return process
