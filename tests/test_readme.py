"""The README's commands, in its order, on a copy of the samples; then the report is looked at in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium  # noqa: F401  (a fixture)

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines() if line]
MADE = [line for line in COMMANDS if line.startswith("make ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a checkout: the environment and the samples."""
    place = tmp_path_factory.mktemp("checkout")
    (place / ".venv").symlink_to(ROOT / ".venv")
    shutil.copytree(ROOT / "samples", place / "samples")
    return place


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command as a person types it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ASSET_PIPELINE_")}
    return subprocess.run(command, shell=True, cwd=folder, env=environment, text=True, capture_output=True, timeout=170)


@pytest.fixture(scope="module")
def demo(folder: Path) -> Iterator[subprocess.CompletedProcess[str]]:
    """What `make demo` runs, once everything is set up."""
    plan = make("demo").stdout.splitlines()
    yield shell(next(line for line in plan if "asset-pipeline run" in line), folder)


def make(target: str) -> subprocess.CompletedProcess[str]:
    """What make would do for a target; the tests may run below another make."""
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", "--no-print-directory", "--dry-run", target]
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True)


@pytest.mark.parametrize("command", MADE)
def test_make_targets_exist(command: str) -> None:
    """Each make target that the README names is one of the Makefile's."""
    done = make(command.removeprefix("make "))
    assert done.returncode == 0, done.stderr


def test_the_demo_completes_every_sample(demo: subprocess.CompletedProcess[str]) -> None:
    """The demo takes every sample to publication, and says where the report is."""
    assert demo.returncode == 0, demo.stdout + demo.stderr
    for path in (ROOT / "samples").iterdir():
        if path.suffix in (".mp4", ".flac", ".jpg", ".png", ".pdf"):
            assert path.name in demo.stdout
    assert "report.html" in demo.stderr


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("a cat", "chelsea.png"),
        ("rocket launch", "rocket.jpg"),
        ("what you can do for your country", "jfk.flac"),
        ("which paper filter for brewing", "coffee-guide.pdf"),
    ],
)
def test_words_find_what_they_say(words: str, first: str, demo: subprocess.CompletedProcess[str], folder: Path) -> None:
    """A search by words puts the picture, speech or page that they describe first."""
    done = shell(f'.venv/bin/asset-pipeline search "{words}" --out out --json', folder)
    assert json.loads(done.stdout.splitlines()[0])["asset"] == first, done.stdout


@pytest.mark.tool("chromium")
def test_the_report_shows_and_plays(demo: subprocess.CompletedProcess[str], folder: Path, chromium) -> None:  # noqa: F811
    """In a real browser the report shows every asset, makes no request beyond itself, and plays the video."""
    page = chromium.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    page.goto((folder / "out" / "report.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    playing = page.evaluate(
        """async () => {
            const video = document.querySelector('video'); video.muted = true; await video.play();
            await new Promise(done => setTimeout(done, 700)); return [video.currentTime, video.videoWidth];
        }"""
    )
    assert playing[0] > 0 and playing[1] > 0
    text = page.inner_text("body")
    assert "ask not what your country can do for you" in text and "Egyptian cat" in text
    assert problems == []
    page.close()


@pytest.mark.parametrize("command", [line for line in COMMANDS if line not in MADE])
def test_commands_run(command: str, demo: subprocess.CompletedProcess[str], folder: Path) -> None:
    """Each command of the README ends with exit code 0, in the README's order, on what the demo made."""
    done = shell(command, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout or "replay" in command or "bytewax.run" in command
