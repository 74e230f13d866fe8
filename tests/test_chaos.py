"""The short form of `make chaos`, on the servers of `make services`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.flows import each
from chaos.trial import Options, Trial, run

ROOT = Path(__file__).parent.parent


@pytest.mark.services
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("case", "assets", "scale"), [("kills", 20, 0.08), ("doubles", 15, 1.0)])
def test_nothing_is_lost_or_doubled(tmp_path: Path, case: str, assets: int, scale: float) -> None:
    """Flows that are killed, and events that come ten times, leave each asset with one end and one set of results."""
    command = [sys.executable, "-m", "chaos", "--case", case, "--assets", str(assets), "--scale", str(scale)]
    done = subprocess.run([*command, "--folder", str(tmp_path)], cwd=ROOT, text=True, capture_output=True, timeout=880)
    last = done.stdout.splitlines()[-1]
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.fullmatch(r"(\d+) submitted, 0 lost, 0 doubled", last)
    assert found and int(found[1]) >= assets, done.stdout


@pytest.mark.services
def test_two_workers_in_a_process_leave_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions, stages and sinks are shared out among the workers of each process, and nothing is changed by it."""
    monkeypatch.setenv("BYTEWAX_WORKERS_PER_PROCESS", "2")

    def act(trial: Trial) -> None:
        trial.fleet.start(each(1))
        trial.load.start(trial.load.mixed(12))

    report = run(act, Options(tmp_path))
    assert report.submitted >= 12
    assert not report.findings, report.findings
