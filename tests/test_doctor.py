"""`doctor` says what is wrong, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from kafka_fixtures import topics_on
from typer.testing import CliRunner

from chaos.servers import KAFKA, S3, S3_KEY, S3_SECRET, WEAVIATE, WEAVIATE_GRPC, free_ports
from dataflows import doctor
from dataflows.cli import app

SERVED = {
    "EVENTS": f"kafka://{KAFKA}", "OBJECTS": "s3://assets/doctor", "TABLES": "s3://tables/doctor", "S3_ENDPOINT": S3,
    "S3_ACCESS_KEY": S3_KEY, "S3_SECRET_KEY": S3_SECRET,
    "INDEX": f"weaviate://{WEAVIATE}?grpc={WEAVIATE_GRPC.rpartition(':')[2]}",
}  # fmt: skip


def examined(out: Path, given: Mapping[str, str] | None = None) -> tuple[int, dict[str, dict[str, str]]]:
    """Its exit code, and its rows by check."""
    environment = {f"ASSET_PIPELINE_{name}": value for name, value in (given or {}).items()}
    done = CliRunner().invoke(app, ["doctor", "--json", "--out", str(out)], env=environment)
    return done.exit_code, {row["check"]: row for row in map(json.loads, done.stdout.splitlines())}


def test_embedded_all_is_well(tmp_path: Path) -> None:
    """Every check passes on a machine that can run the embedded flow, and leaves nothing behind."""
    code, rows = examined(tmp_path)
    assert code == 0, rows
    assert {row["state"] for row in rows.values()} == {"ok"}
    assert list(rows) == [check.name for check in doctor.CHECKS]
    assert not list((tmp_path / "store").rglob("*.json"))


def test_what_is_wrong_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that there is not, and a disk that is full."""
    monkeypatch.setattr(doctor, "_SPARE_BYTES", 2**60)
    (tmp_path / "pipelines.toml").write_text('[odd]\nprofile = "odd"\n')
    code, rows = examined(tmp_path, {"PIPELINES_FILE": str(tmp_path / "pipelines.toml")})
    assert code == 3
    assert {name for name, row in rows.items() if row["state"] == "trouble"} == {"settings", "disk"}
    assert "odd" in rows["settings"]["found"] and "lite" in rows["settings"]["todo"]
    assert "ASSET_PIPELINE_OUT" in rows["disk"]["todo"]


def test_servers_that_are_away(tmp_path: Path) -> None:
    """Each is named, with the setting that leads to it; the others are looked at all the same."""
    port = free_ports(1)[0]
    away = {"EVENTS": f"kafka://127.0.0.1:{port}", "S3_ENDPOINT": f"http://127.0.0.1:{port}",
            "INDEX": f"weaviate://127.0.0.1:{port}?grpc={port}"}  # fmt: skip
    code, rows = examined(tmp_path, SERVED | away)
    assert code == 3
    trouble = {name for name, row in rows.items() if row["state"] == "trouble"}
    assert trouble == {"events", "objects", "tables", "index", "clock"}
    for name in ("events", "objects", "tables", "index"):
        assert f"ASSET_PIPELINE_{name.upper()}" in rows[name]["todo"]
        assert len(rows[name]["found"]) < 120 and S3_SECRET not in str(rows)


@pytest.mark.services
def test_served_all_is_well_once_topics_are_there(tmp_path: Path) -> None:
    """Without its topics the way to make them is said."""
    code, rows = examined(tmp_path, SERVED | {"TOPIC_PREFIX": tmp_path.name})
    assert code == 3 and rows["events"]["todo"] == "asset-pipeline topics apply"
    with topics_on(KAFKA) as made:
        code, rows = examined(tmp_path, SERVED | {"TOPIC_PREFIX": made.topic_prefix})
    assert code == 0, rows
