"""The benchmark of the flows measures all that it says, on real servers, and counts what each side has written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.stream import throughput
from bench.stream.events import fill, ingest_event, records
from bench.stream.place import place
from bench.stream.rows import Row
from bench.stream.throughput import RIVALS, measured
from schemas.cloudevents import encode_ingest
from schemas.settings import Settings
from schemas.topics import INGEST, STATUS
from sources.kafka_admin import KafkaAdmin

ROOT = Path(__file__).parents[1]
COUNT = 300
AIMS = [0.5, 0.6, 3, 15, 1.05, 50, 2, 1.1, 20, 100, 0.85, 0.9, 0.9]


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Settings]:
    """Topics with a few events."""
    with place(tmp_path, 2) as settings:
        fill(settings, COUNT)
        yield settings


def test_events_are_those_that_the_encoder_makes():
    """What fills the topic fast is what a producer would have sent."""
    assert list(records(12)) == [encode_ingest(INGEST.name, ingest_event(n)) for n in range(12)]


def test_a_ratio_is_of_runs_that_followed_each_other():
    """The ratio is the median over pairs, the figures are medians, and the aim is a least or a most."""
    row = Row.of("rate", [2.0, 9.0, 4.0], [4.0, 9.0, 10.0], 0.5)
    assert (row.ours, row.against, row.ratio, row.met) == (4.0, 9.0, 0.5, True)
    assert not Row.figure("milliseconds", 51.0, 50.0).met and Row.figure("milliseconds", 50.0, 50.0).met


@pytest.mark.services
@pytest.mark.parametrize("module", ["raw", "ours"])
def test_a_side_writes_each_message_once(filled: Settings, module: str):
    """A side's rate is of messages that lie in the status topic, as many as it has read."""
    told = measured(module, filled, COUNT, size=600, store=str(filled.below("store")), epoch_s=10.0)
    assert told["seen"] == COUNT == sum(KafkaAdmin(filled).end_offsets(STATUS).values())
    assert told["rate"] > 0 and told["cpu_us"] > 0


@pytest.mark.services
def test_a_side_that_loses_messages_is_refused(filled: Settings, monkeypatch: pytest.MonkeyPatch):
    """A rate of messages that are not in the topic is no rate."""
    monkeypatch.setattr(throughput, "ended", lambda side: {**json.loads(side.communicate()[0]), "seen": COUNT + 1})
    with pytest.raises(RuntimeError, match=f"raw has written {COUNT} of {COUNT + 1}"):
        measured("raw", filled, COUNT, size=600)


@pytest.mark.services
@pytest.mark.timeout(600)
def test_quick_run_writes_all_measures(tmp_path: Path):
    """A run of small sizes writes a figure and a ratio of real runs for every aim, with the date and the machine."""
    if not RIVALS.exists():
        pytest.skip("the rivals are not installed: make bench-stream")
    out = tmp_path / "bench-stream.json"
    command = [sys.executable, "-m", "bench.stream", "--quick", "--out", str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    written = json.loads(out.read_text())
    assert written["date"] and "cores" in written["machine"]
    assert [row["aim"] for row in written["rows"]] == AIMS
    for row in written["rows"]:
        assert row["ours"] > 0 and row["ratio"] == pytest.approx(
            row["ours"] / row["against"] if row["against"] else row["ours"]
        )
        assert row["met"] == (row["ratio"] <= row["aim"] if row["most"] else row["ratio"] >= row["aim"])
    assert all(row["measure"][:40] in run.stdout for row in written["rows"])
