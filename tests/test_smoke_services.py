"""The README's way over real servers, as a new user goes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.services
@pytest.mark.timeout(900)
def test_the_readme_leads_through_all_flows(tmp_path: Path) -> None:
    """Topics, six flows, submit, search and lineage end well on Kafka, S3, Weaviate and Delta, and nothing runs on."""
    for name in (".venv", "services"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("samples", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "README.md", tmp_path)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ASSET_PIPELINE_")}
    environment |= {
        "ASSET_PIPELINE_TOPIC_PREFIX": f"smoke-{uuid4().hex[:8]}",
        "ASSET_PIPELINE_TENANT": f"t{uuid4().hex[:8]}",
    }
    done = subprocess.run(
        [tmp_path / "scripts" / "smoke_services.sh"], env=environment, text=True, capture_output=True, timeout=880
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "chelsea.png" in done.stdout and "big-buck-bunny.mp4  video" in done.stdout
    for name in ("coffee.png", "jfk.flac", "coffee-guide.pdf", "rocket.jpg"):
        [line] = [line for line in done.stdout.splitlines() if line.startswith(f"{name} ")]
        assert "completed" in line, json.dumps(line)
    assert "Traceback" not in done.stderr, done.stderr
