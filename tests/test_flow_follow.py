"""`run --follow`: files as they become complete, moves, restarts, and a clean end."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from flow_runs import Place, check_alone, check_whole, found, picture, soon

from operators.media.types import is_media_name
from sources.folder import Watcher

SETTLE = {"ASSET_PIPELINE_SETTLE_S": "0.5"}


def written_slowly(path: Path, source: Path) -> None:
    """Writes a file's content in pieces, each well within the time in which a file must not change."""
    data = source.read_bytes()
    step = len(data) // 8 + 1
    with path.open("wb") as file:
        for start in range(0, len(data), step):
            file.write(data[start : start + step])
            file.flush()
            time.sleep(0.15)


def ended(running: Any) -> tuple[dict[str, Any], str]:
    """The rows by name, and the messages, after an interrupt that reaches all processes, as from a terminal."""
    os.killpg(running.pid, signal.SIGINT)
    output, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    assert "Traceback" not in errors, errors
    check_alone(running.pid)
    return {row["asset"]: row for row in map(json.loads, output.splitlines())}, errors


def test_a_followed_folder(tmp_path: Path):
    """What lies there and what comes is completed, a slow file once it is whole, a moved one not again; then restarted.

    While it runs, another run on its folder is refused with exit code 2. An interrupt ends it with table and report.
    """
    place, folder = Place(tmp_path / "out", SETTLE), tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    picture(folder / "first.png", 1)
    arguments = ("run", folder, "--follow", "--out", place.out, "--json")
    with place.started(*arguments) as running:
        assert soon(place, "first.png")
        written_slowly(folder / "slow.png", picture(tmp_path / "slow.png", 2))
        (folder / "first.png").rename(folder / "sub" / "first.png")
        with place.started("run", folder, "--out", place.out) as second:
            assert second.wait(60) == 2
            assert "another process works on" in second.stderr.read()
        assert soon(place, "slow.png")
        rows, errors = ended(running)
    assert {name: row["state"] for name, row in rows.items()} == {"first.png": "completed", "slow.png": "completed"}
    assert "report: " in errors and (place.out / "report.html").exists()
    assert len(place.inbox()) == 2
    made = place.made()

    with place.started(*arguments) as running:
        picture(folder / "third.png", 3)
        assert soon(place, "third.png")
        rows, _ = ended(running)
    assert {row["state"] for row in rows.values()} == {"completed"}
    assert all(all(found(rows[name]).values()) for name in ("first.png", "slow.png"))
    assert [set(old) - set(now) for old, now in zip(made, place.made(), strict=True)] == [set()] * 3
    assert len(place.manifests()) == 3
    check_whole(place)


def scanned(watcher: Watcher) -> list[str]:
    """The names of the files that one scan finds."""
    return [path.name for path in watcher.scan()]


def test_a_file_is_found_once_it_has_been_the_same_for_some_scans(tmp_path: Path):
    """A file that grows, or is replaced, counts anew; one that is found is not found again until it changes."""
    watcher, path = Watcher(tmp_path, is_media_name, settle=2), tmp_path / "a.png"
    path.write_bytes(b"1")
    assert scanned(watcher) == []
    path.write_bytes(b"12")
    assert scanned(watcher) == []
    assert scanned(watcher) == ["a.png"]
    assert scanned(watcher) == []
    path.write_bytes(b"other")
    assert [scanned(watcher) for _ in range(3)] == [[], ["a.png"], []]


def test_a_moved_file_is_the_same_file(tmp_path: Path):
    """A file that moves goes on counting where it was, and once found is not found again; a second link to it is."""
    watcher, path = Watcher(tmp_path, is_media_name, settle=3), tmp_path / "a.png"
    (tmp_path / "sub").mkdir()
    path.write_bytes(b"1")
    scanned(watcher), scanned(watcher)
    path = path.rename(tmp_path / "sub" / "b.png")
    assert scanned(watcher) == ["b.png"]
    path = path.rename(tmp_path / "c.png")
    assert [scanned(watcher) for _ in range(3)] == [[], [], []]
    (tmp_path / "d.png").hardlink_to(path)
    assert [scanned(watcher) for _ in range(3)] == [[], [], ["d.png"]]


def test_a_folder_that_goes_away_is_waited_for(tmp_path: Path):
    """A watched folder that is removed, or a folder in it, finds nothing, and what is there again is found again."""
    folder = tmp_path / "in"
    watcher = Watcher(folder, is_media_name, settle=1)
    assert scanned(watcher) == []
    folder.mkdir()
    (folder / "a.png").write_bytes(b"1")
    assert scanned(watcher) == ["a.png"]
