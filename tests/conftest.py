"""Programs and servers that only tests use: demanded where CI is set, elsewhere left out and named in the last lines.

`SERVICES=demanded` demands the servers alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import cache

import pytest
from demanded import DEMANDED

from chaos import servers

unanswered = cache(servers.unanswered)
_missing: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _ordinary_scheduling() -> Iterator[None]:
    """Sources in AV1 are encoded by FFmpeg in this process, which as root makes it a real-time one."""
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose program or server is not there, or fails it."""
    for marker in item.iter_markers("tool"):
        program = str(marker.args[0])
        if shutil.which(program) is None:
            _leave_out(program, f"{program} is not installed", bool(os.environ.get("CI")))
    if item.get_closest_marker("services") and unanswered():
        away = ", ".join(unanswered())
        _leave_out(away, f"nobody answers for {away}: make services", DEMANDED)


def _leave_out(name: str, reason: str, demanded: bool) -> None:
    _missing[name] = _missing.get(name, 0) + 1
    if demanded:
        pytest.fail(f"{reason}, and it is demanded")
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was left out."""
    for program, count in sorted(_missing.items()):
        terminalreporter.write_line(f"left out for want of {program}: {count} tests")
