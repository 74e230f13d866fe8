"""`describe`: everything that can be chosen, and what it is now."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from flow_runs import PROGRAM

from dataflows.describing import COLUMNS, described, show
from dataflows.output import Output
from operators.stages import validate
from schemas.errors import CODES
from schemas.routing import PROFILES
from schemas.settings import Settings


def test_json_is_one_object_a_line_of_every_sort(tmp_path: Path) -> None:
    """The command prints stages, settings, pipelines, models, channels and codes, and nothing else on stdout."""
    command = [str(PROGRAM), "describe", "--out", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {entry["type"] for entry in found} == set(COLUMNS)
    assert [entry["code"] for entry in found if entry["type"] == "code"] == list(CODES)
    assert not list(tmp_path.iterdir())


def test_what_is_described_is_what_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values come from the environment, with their defaults; pipelines from the file, versions from the code."""
    monkeypatch.setenv("ASSET_PIPELINE_ATTEMPTS", "7")
    (tmp_path / "pipelines.toml").write_text("[small.image]\nwidths = [100]\n")
    settings = Settings(out=tmp_path, pipelines_file=tmp_path / "pipelines.toml")
    found = list(described(settings))
    attempts = next(entry for entry in found if entry.get("setting") == "attempts")
    assert (attempts["value"], attempts["default"], attempts["variable"]) == (7, 3, "ASSET_PIPELINE_ATTEMPTS")
    small = next(entry for entry in found if entry.get("pipeline") == "small")
    assert small["params"]["image"]["widths"] == [100]
    assert small["fingerprint"] == settings.pipelines()["small"].fingerprint
    stage = next(entry for entry in found if entry.get("stage") == "validate")
    assert stage["versions"] == f"validate {validate.VERSION}"


def test_models_are_the_routing_table(tmp_path: Path) -> None:
    """Each route is there with its vector space, and whether its packages are installed."""
    models = [entry for entry in described(Settings(out=tmp_path)) if entry["type"] == "model"]
    assert [(m["task"], m["space"]) for m in models] == [(r.task, r.space) for r in PROFILES["lite"].routes]
    assert all(isinstance(m["available"], bool) for m in models)


def test_people_get_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json there is a table for each sort, and parameters are lines."""
    show(Settings(out=tmp_path), Output(False))
    told = capsys.readouterr().out
    assert all(f"{sort}s" in told for sort in COLUMNS)
    assert "video.chunk_s" in told
