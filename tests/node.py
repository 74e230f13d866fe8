"""Programs for Node that tests run, with what they need installed by the project's own target."""

from __future__ import annotations

import fcntl
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
from demanded import DEMANDED

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests" / "producers"
WEB = ROOT / "tests" / "web"


@cache
def _trouble(folder: Path) -> str:
    """Why the folder's packages cannot be had, or ""; asked once in a run."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", "--silent", f"{folder.relative_to(ROOT)}/node_modules/.package-lock.json"]
    with (folder / "package.json").open() as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=160)
    return done.stderr.strip() or "npm failed" if done.returncode else ""


def installed(folder: Path) -> Path:
    """The folder's packages, installed; the test is left out where they cannot be had, unless demanded."""
    if _trouble(folder) and not DEMANDED:
        pytest.skip(_trouble(folder))
    assert not _trouble(folder)
    return folder / "node_modules"


def run(program: str, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """What a producer's program gives."""
    installed(FOLDER)
    command = ["node", FOLDER / program, *arguments]
    return subprocess.run(command, text=True, capture_output=True, timeout=timeout_s)
