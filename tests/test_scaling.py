"""How many processes are advised, what prepares a pod, and what the commands say where there is no cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dataflows import recovery
from dataflows.cli import app
from dataflows.scaling import advised

KNOWN = {"processes": 2, "in_hand": 8, "unfinished": 8, "oldest_s": 100.0, "within_s": 900.0, "partitions": 12}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, 1),
        ({"unfinished": 80}, 3),  # 8 in 100 s: 80 in 1000 s, where 900 s are wanted
        ({"unfinished": 80, "within_s": 1000.0}, 2),
        ({"unfinished": 80, "within_s": 500.0}, 4),
        ({"unfinished": 8000}, 12),  # no more than partitions
        ({"in_hand": 1, "unfinished": 1, "oldest_s": 20_000.0}, 2),  # one long video goes no faster
        ({"in_hand": 1, "unfinished": 2, "oldest_s": 20_000.0}, 4),
        ({"in_hand": 0, "unfinished": 0, "oldest_s": 0.0}, 1),
        ({"in_hand": 0, "unfinished": 50, "oldest_s": 0.0}, 2),  # nothing is known
        ({"unfinished": 0}, 1),  # the lag is told later than what is in hand
    ],
)
def test_the_number_that_is_advised(given: dict[str, float], wanted: int) -> None:
    """As many as finish in time what there is, within what more processes can help."""
    assert advised(**{**KNOWN, **given}) == wanted  # type: ignore[arg-type]


def test_more_work_never_advises_fewer() -> None:
    """The number grows with what is unfinished and with its age."""
    for name, values in {"unfinished": range(8, 2000, 50), "oldest_s": range(1, 4000, 100)}.items():
        found = [advised(**{**KNOWN, name: value}) for value in values]  # type: ignore[arg-type]
        assert found == sorted(found) and found[0] < found[-1]


def prepared(*arguments: str | Path, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """What prepares a pod, as process 1 of so many."""
    environment = os.environ | {"ASSET_PIPELINE_PROCESS": "1", "ASSET_PIPELINE_PROCESSES": str(processes)}
    command = [sys.executable, "-m", "dataflows.prepare", *arguments]
    return subprocess.run(command, env=environment, text=True, capture_output=True)


def test_a_pod_finds_its_store_again(tmp_path: Path) -> None:
    """A store is made once, and anew for another number of processes; the process takes it as it is."""
    store = tmp_path / "volume" / "store"
    assert prepared("--store", store).returncode == 0
    first = json.loads((store / recovery.NAME).read_text())
    assert first["process"] == 1 and list(store.glob("part-*.sqlite3"))
    assert prepared("--store", store).returncode == 0
    assert recovery.ready(store, 1, 2, [first["id"]]) == first["id"]
    assert prepared("--store", store, processes=3).returncode == 0
    assert json.loads((store / recovery.NAME).read_text())["id"] != first["id"]


def test_a_cluster_finds_its_peers(tmp_path: Path) -> None:
    """The hostfile has a line for each process."""
    assert prepared("--hostfile", tmp_path / "hosts", "--host", "flow-{}.flow:2101", processes=3).returncode == 0
    assert (tmp_path / "hosts").read_text() == "flow-0.flow:2101\nflow-1.flow:2101\nflow-2.flow:2101\n"


def test_a_volume_that_refuses_is_told(tmp_path: Path) -> None:
    """In a sentence, and with an exit code that keeps the pod from starting."""
    (tmp_path / "file").touch()
    done = prepared("--store", tmp_path / "file" / "store")
    assert done.returncode == 1 and done.stderr.startswith("the volume refuses: ")


def test_without_kubectl_it_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing program is no traceback."""
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(app, ["drain", "derive"])
    assert done.exit_code == 3 and "kubectl is not installed: install it" in done.output


def test_an_unknown_flow_is_refused() -> None:
    """With those that there are."""
    done = CliRunner().invoke(app, ["drain", "transcode"])
    assert done.exit_code == 2 and "there is no flow 'transcode'; there are " in done.output
