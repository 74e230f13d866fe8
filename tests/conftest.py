"""Programs and servers that only tests use: demanded where CI is set, elsewhere left out and named in the last lines.

`SERVICES=demanded` demands the servers alone.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from functools import cache

import pytest
from demanded import DEMANDED

from chaos import servers

unanswered = cache(servers.unanswered)


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
            _leave_out(f"{program} is not installed", bool(os.environ.get("CI")))
    if item.get_closest_marker("services") and unanswered():
        _leave_out(f"nobody answers for {', '.join(unanswered())}: make services", DEMANDED)


def _leave_out(reason: str, demanded: bool) -> None:
    if demanded:
        pytest.fail(f"{reason}, and it is demanded")
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what was left out."""
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []))
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} tests left out: {reason.removeprefix('Skipped: ')}")
