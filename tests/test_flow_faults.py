"""Faults put into the real flow: what breaks one asset's work costs the others and the process nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import bad_media as bad
import faulty
import pytest

SETTINGS = {"backoff_s": "0.05", "heavy_workers": "1"}
DECODERS = {
    "crash.png": ("decoder_crashed", 3, "SIGSEGV"),
    "hang.png": ("decoder_timeout", 1, f"{faulty.WALL_S} s"),
    "memory.png": ("decoder_memory", 1, "MemoryError"),
}
CHANGED = {"grows.png": "it grew", "replaced.png": "replaced.png"}


def settings(place: Path) -> dict[str, str]:
    """A pipeline without models."""
    (place / "pipelines.toml").write_text(bad.LEAN.replace("300_000", "9_000_000"))
    return SETTINGS | {"pipelines_file": str(place / "pipelines.toml")}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> bad.Ran:
    """One run with faults, over files that meet them and good ones."""
    place = tmp_path_factory.mktemp("faults")
    folder = place / "in"
    folder.mkdir()
    for name, width in {"crash.png": faulty.CRASH, "hang.png": faulty.HANG, "memory.png": faulty.MEMORY}.items():
        bad.picture(folder / name, width)
    for name, width in {"grows.png": 50, "replaced.png": 60, "good.png": 70}.items():
        bad.picture(folder / name, width)
    with (folder / "grows.png").open("ab") as file:
        file.write(bytes(3 * 2**20))  # several blocks, so that it grows between two of them
    bad.sound(folder / "good.flac")
    return bad.command(
        [sys.executable, "-m", "faulty", "run"], place / "out", folder, "--pipeline", "lean", **settings(place)
    )


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_that_breaks_fails_its_own_asset(ran: bad.Ran, name: str) -> None:
    """A crash is tried again and its attempts are kept; a hang or too much memory is final; each has its code."""
    code, attempts, detail = DECODERS[name]
    letter = bad.ended_badly(ran, name, "failed", code, attempts)
    assert letter.stage == "derive"
    assert [attempt.number for attempt in letter.attempts] == list(range(1, attempts + 1))
    for attempt in letter.attempts:
        assert attempt.code == code and detail in attempt.detail
        assert "Traceback" in attempt.traceback


@pytest.mark.parametrize("name", CHANGED)
def test_a_file_that_changes_while_it_is_read_is_refused(ran: bad.Ran, name: str) -> None:
    """Growing between two blocks, or other content than when it was submitted, rejects it before any step."""
    letter = bad.ended_badly(ran, name, "rejected", "source_changed")
    assert (letter.stage, letter.attempts[0].detail) == ("ingest", CHANGED[name])


def test_of_a_file_that_grew_no_bytes_are_kept(ran: bad.Ran) -> None:
    """Its blocks were streamed towards the object store, and no object of them is there."""
    sizes = [path.stat().st_size for path in (ran.out / "store" / "objects").rglob("*") if path.is_file()]
    assert max(sizes) < 2**20


@pytest.mark.parametrize("name", ["good.png", "good.flac"])
def test_the_others_complete(ran: bad.Ran, name: str) -> None:
    """Assets beside them are completed, although they share the lane and the process."""
    assert ran.code(name) == ("completed", ""), ran.assets[name]["message"]
    assert ran.visible(ran.assets[name]["asset_id"])


def test_the_process_lives_and_leaves_nothing(ran: bad.Ran) -> None:
    """The run ends by itself with its report and the exit code of failed assets, and nothing half-written."""
    assert ran.status == 3, ran.errors
    assert (ran.out / "report.html").exists()
    assert ran.half_written() == []


def test_a_replay_after_the_repair_completes(ran: bad.Ran) -> None:
    """With a sound decoder the dead letters' assets go through, each as its next generation."""
    wanted = [ran.assets[name]["asset_id"] for name in DECODERS]
    again = bad.command([bad.PROGRAM, "replay"], ran.out, *wanted, **settings(ran.out.parent))
    assert again.status == 0, again.errors
    assert {again.code(name) for name in DECODERS} == {("completed", "")}
    assert all(len(ran.letters(asset_id)) == 1 for asset_id in wanted)
