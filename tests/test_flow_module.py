"""The flow as a module of its own, as Bytewax runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bytewax.recovery import init_db_dir
from flow_runs import Place, check_alone, check_whole, picture

BYTEWAX = (sys.executable, "-m", "bytewax.run")


@pytest.mark.parametrize("recovered", [False, True])
def test_the_module_runs_the_same_flow(tmp_path: Path, recovered: bool):
    """Settings come from the environment; it completes what the input names, ends by itself, and leaves no process."""
    (tmp_path / "in").mkdir()
    picture(tmp_path / "in" / "noise.png")
    place = Place(tmp_path / "out")
    place.environment |= {
        "ASSET_PIPELINE_OUT": str(place.out),
        "ASSET_PIPELINE_INPUT": f'["{tmp_path / "in"}"]',
    }
    options: list[str | Path] = ["dataflows.pipeline:flow"]
    if recovered:
        (tmp_path / "recovery").mkdir()
        init_db_dir(tmp_path / "recovery", 1)
        options += ["-r", tmp_path / "recovery", "-s", "1", "-b", "0"]
    with place.started(*options, program=BYTEWAX) as running:
        _, errors = running.communicate(timeout=90)
        check_alone(running.pid)
    assert running.returncode == 0, errors
    assert "Traceback" not in errors, errors
    assert [row["state"] for row in place.table("assets")] == ["completed"]
    check_whole(place)
