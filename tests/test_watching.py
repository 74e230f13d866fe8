"""`status --watch`: what it shows of a real run, and that it goes on until it is interrupted."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from flow_runs import PROGRAM
from kafka_fixtures import kafka, send  # noqa: F401  (fixtures)
from kept_runs import called, kept
from rich.console import Console

from chaos.waiting import eventually
from dataflows import watching
from operators.stages.rows import status_row
from schemas.arrow import arrow_schema
from schemas.errors import State
from schemas.events import StatusChanged
from schemas.settings import Settings
from schemas.tables import TABLES
from schemas.topics import INGEST
from sinks.delta_table import open_table


def drawn(found: watching.View) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(watching.shown(found, "12:00:00"))
    return capture.get()


def test_what_ended_is_counted_and_named(tmp_path: Path) -> None:
    """By state, with the code and what to do; what was accepted long ago is left out."""
    place = kept(tmp_path)
    found = watching.view(place.settings, time.time())
    assert found.states == {"completed": 4, "failed": 1} and not found.working and not found.lags
    broken = called("broken.pdf")
    assert broken in {asset for asset, state, code, why in found.ended if state == State.FAILED and code and why}
    assert broken[:8] in drawn(found) and "4 completed" in drawn(found)
    later = watching.view(place.settings, time.time() + 2 * watching.BACK_S)
    assert later == watching.View({}, [], [], {}) and "no assets in the last day" in drawn(later)


def test_what_is_at_work_is_shown_by_the_time_since_it_changed(tmp_path: Path) -> None:
    """With its stage and step, the longest unchanged first."""
    settings, now = Settings(out=tmp_path), time.time()
    rows = []
    for number, (step, age) in enumerate({"": 5, "fetch": 90}.items()):
        about = {"asset_id": f"asset-{number}", "job_id": f"job-{number}", "tenant": "default"}
        event = StatusChanged.of(
            **about, stage="ingest", step=step, state=State.PROCESSING, at_ms=int((now - age) * 1000),
            accepted_ms=int((now - 100) * 1000),
        )  # fmt: skip
        rows.append(status_row(event)[1])
    table = open_table(str(settings.below("tables", "events")), schema := arrow_schema(TABLES["events"]), None)
    write_deltalake(table, pa.Table.from_pylist(rows, schema=schema), mode="append")
    found = watching.view(settings, now)
    assert [(asset, stage, step, round(age)) for asset, stage, step, age in found.working] == [
        ("asset-1", "ingest", "fetch", 90), ("asset-0", "ingest", "", 5),
    ]  # fmt: skip
    assert "90 s" in drawn(found)


@pytest.mark.services
def test_what_flows_have_not_finished_is_shown(kafka: Settings, tmp_path: Path) -> None:  # noqa: F811
    """By flow, where they run on Kafka."""
    send(kafka, INGEST, [b"x"] * 3)
    found = watching.view(kafka.model_copy(update={"out": tmp_path}), time.time())
    assert found.lags == {"ingest": 3, "derive": 0, "chunks": 0, "enrich": 0, "register": 0, "publish": 0}
    assert "unfinished messages" in drawn(found)


def test_it_goes_on_until_it_is_interrupted(tmp_path: Path) -> None:
    """On a terminal; then it ends well."""
    place = kept(tmp_path)
    ours, theirs = pty.openpty()
    command = [PROGRAM, "status", "--watch", "--out", place.out]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}) as running:
        seen = bytearray()

        def twice() -> bool:
            seen.extend(os.read(ours, 65536))
            return seen.count(b"4 completed") >= 2

        assert eventually(twice, 60)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
    os.close(ours)
    os.close(theirs)
