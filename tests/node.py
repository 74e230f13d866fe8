"""Programs for Node that tests run, with what they need installed by the project's own target."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from demanded import DEMANDED

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests" / "producers"
_INSTALLED = "tests/producers/node_modules/.package-lock.json"


@cache
def _trouble() -> str:
    """Why the programs cannot run, or ""; asked once in a run."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", "--silent", _INSTALLED]
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=160)
    return done.stderr.strip() or "npm failed" if done.returncode else ""


def run(program: str, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """What a program of the folder gives; the test is left out where its packages cannot be had, unless demanded."""
    if _trouble() and not DEMANDED:
        pytest.skip(_trouble())
    assert not _trouble()
    command = ["node", FOLDER / program, *arguments]
    return subprocess.run(command, text=True, capture_output=True, timeout=timeout_s)
