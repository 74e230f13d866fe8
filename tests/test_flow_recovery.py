"""kill -9 at random moments of a run, again and again: in the end everything is there, and everything once."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import media_factory as media
import pytest
from flow_runs import Place, check_alone, check_whole, clip, document, first_line, found, picture, pipeline_file

from schemas.tables import TABLES

KILLS = 20
SEED = 3
NAMES = ("clip.mp4", "sound.wav", "page.pdf", "noise-0.png")


def folder_of(folder: Path) -> Path:
    """One asset of each kind."""
    folder.mkdir()
    clip(folder / "clip.mp4", 5)
    media.write_sound(folder / "sound.wav", media.noise(1.0, 0.02), codec="pcm_s16le")
    document(folder / "page.pdf")
    picture(folder / "noise-0.png")
    return folder


def moments(start_s: float, work_s: float) -> Iterator[tuple[bool, float]]:
    """Random moments of a run, one in three while it starts: (after the first step's end, seconds)."""
    chance = random.Random(SEED)
    while True:
        if chance.random() < 1 / 3:
            yield False, chance.uniform(0.2, 1.0) * start_s
        else:
            yield True, chance.uniform(0.0, 0.4) * work_s


def timed(place: Place, folder: Path) -> tuple[float, float]:
    """Seconds until a run's first step has ended, and from there to its end."""
    began = time.monotonic()
    with place.started("run", folder, "--out", place.out) as running:
        first_line(running)
        first = time.monotonic()
        running.communicate(timeout=120)
    assert running.returncode == 0
    return first - began, time.monotonic() - first


def killed(place: Place, folder: Path, working: bool, seconds: float) -> bool:
    """Whether a run was killed at that moment, and had not ended before it."""
    with place.started("run", folder, "--out", place.out) as running:
        if working:
            first_line(running)
        time.sleep(seconds)
        alive = running.poll() is None
        running.kill()
        running.wait()
        check_alone(running.pid)
    return alive


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Path, float, float]:
    """A run that nobody kills, its folder, and its times."""
    made = tmp_path_factory.mktemp("unbroken")
    parameters = {"ASSET_PIPELINE_PIPELINES_FILE": str(pipeline_file(made / "pipelines.toml"))}
    place, folder = Place(made / "out", parameters), folder_of(made / "in")
    return place, folder, *timed(place, folder)


@pytest.mark.timeout(600)
def test_twenty_kills_lose_nothing_and_double_nothing(unbroken: tuple[Place, Path, float, float], tmp_path: Path):
    """After 20 kills at random the run completes every asset once; so it does when the recovery store is lost, too.

    Every third restart brings another image, so that there is work to kill until the last.
    """
    whole, folder, start_s, work_s = unbroken
    place, kills, when = Place(tmp_path / "out", whole.environment), 0, moments(start_s, work_s)
    while kills < KILLS:
        if kills % 3 == 2:
            picture(folder / f"noise-{kills}.png", kills)
        kills += killed(place, folder, *next(when))
    check_ended(place, folder, whole)
    before = place.made(), {name: len(place.table(name)) for name in TABLES}
    shutil.rmtree(place.out / "recovery")
    rows = check_ended(place, folder, whole)
    assert all(all(found(row).values()) for row in rows.values())
    assert before == (place.made(), {name: len(place.table(name)) for name in TABLES})


def check_ended(place: Place, folder: Path, whole: Place) -> dict[str, dict]:
    """A run ends with everything completed, once, as in a run that nobody killed."""
    rows = place.run(folder)
    assert {row["state"] for row in rows.values()} == {"completed"}
    assert rows.keys() == {path.name for path in folder.iterdir()}
    check_whole(place)
    assert not place.files("store/dead-letters/**/*")
    assert steps_of(whole) <= steps_of(place)
    assert len(place.table("assets")) == len(rows)
    return rows


def steps_of(place: Place) -> set[tuple[str, ...]]:
    """The steps in the table, by job."""
    return {(row["job_id"], row["stage"], row["step"], row["state"]) for row in place.table("steps")}
