"""Headless Chromium for tests that look at pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str | None:
    """The program's path, or None where it is not installed."""
    return next((found for found in map(shutil.which, NAMES) if found), None)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser for the module, as its event loop would break asyncio.run in others.

    Where it is not installed the tests are left out, or fail where CI is set.
    """
    program = executable()
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS, headless=True)
        yield browser
        browser.close()
