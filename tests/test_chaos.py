"""The short form of `make chaos`, on the servers of `make services`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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
