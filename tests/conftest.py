"""System programs that only tests use: demanded where CI is set, elsewhere left out and named in the last lines."""

from __future__ import annotations

import os
import shutil

import pytest

TOOLS = {"ffmpeg": "ffmpeg", "chromium": "chromium", "exiftool": "exiftool"}
_missing: dict[str, int] = {}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose program is not installed, or fails it where CI is set."""
    for marker in item.iter_markers("tool"):
        program = TOOLS[marker.args[0]]
        if shutil.which(program) is None:
            _missing[program] = _missing.get(program, 0) + 1
            if os.environ.get("CI"):
                pytest.fail(f"{program} is not installed, and CI demands it")
            pytest.skip(f"{program} is not installed")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was left out."""
    for program, count in sorted(_missing.items()):
        terminalreporter.write_line(f"left out for want of {program}: {count} tests")
