"""Running again: nothing is made twice, a changed parameter remakes what depends on it, a drain loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from flow_runs import (
    Place,
    check_alone,
    check_whole,
    clip,
    first_line,
    found,
    interrupted,
    picture,
    pipeline_file,
)

from schemas.tables import TABLES

# steps for which the file's name counts: the gate compares it with the content, and its words are searched for
NAMED = {"validate.gate", "enrich.text", "enrich.language"}


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a video with sound and an image."""
    folder = tmp_path_factory.mktemp("media")
    clip(folder / "clip.mp4")
    picture(folder / "noise.png")
    return folder


@pytest.fixture(scope="module")
def place(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An output folder after a first run."""
    made = tmp_path_factory.mktemp("rerun")
    plain = pipeline_file(made / "plain.toml")
    ran = Place(made / "out", {"ASSET_PIPELINE_PIPELINES_FILE": str(plain)})
    rows = ran.run(media)
    assert [row["state"] for row in rows.values()] == ["completed", "completed"]
    assert not any(found(rows["clip.mp4"]).values())
    return ran


def changed(place: Place, **tables: dict[str, Any]) -> Place:
    """The same place with other parameters."""
    path = pipeline_file(place.out.parent / "changed.toml", **tables)
    return Place(place.out, {"ASSET_PIPELINE_PIPELINES_FILE": str(path)})


def made_anew(rows: dict[str, Any]) -> set[str]:
    """The steps that a run computed."""
    return {step for step, cached in found(rows).items() if not cached}


def results_of(place: Place) -> Counter[str]:
    """How many results each step has."""
    found = [json.loads(path.read_bytes()) for path in place.files("store/results/**/*")]
    return Counter(f"{result['stage']}.{result['step']}" for result in found)


def chunk_results(place: Place) -> int:
    """How many results of chunks there are."""
    return sum(count for step, count in results_of(place).items() if step.startswith("derive.chunk-"))


def test_a_second_run_does_no_media_work(media: Path, place: Place):
    """Every step is found, and there is no new object, result, manifest, row or publication."""
    before, rows = place.made(), {name: place.table(name) for name in TABLES}
    second = place.run(media)
    assert [made_anew(row) for row in second.values()] == [set(), set()]
    assert all(row["state"] == "completed" for row in second.values())
    assert place.made() == before
    for name in TABLES:
        assert sorted(r["row_id"] for r in place.table(name)) == sorted(r["row_id"] for r in rows[name])
    check_whole(place)


def test_another_loudness_remakes_the_sound_only(media: Path, place: Place):
    """A new target levels the sound again and joins it to the pictures; no chunk is encoded, no model asked."""
    chunks = chunk_results(place)
    assert chunks > 5
    rows = changed(place, **{"audio.loudness": {"target_lufs": -20.0}}).run(media)
    assert made_anew(rows["clip.mp4"]) == {
        "derive.audio", "derive.mezzanine", "derive.hls", "preview.sound", "preview.stream",
    }  # fmt: skip
    assert not made_anew(rows["noise.png"])
    assert chunk_results(place) == chunks
    check_new_version(place, rows, {"mezzanine", "audio", "preview", "hls", "hls-audio", "hls-audio-media"})


def test_another_storyboard_remakes_the_storyboard_only(media: Path, place: Place):
    """Wider tiles make the storyboard again, and nothing else."""
    rows = changed(place, preview={"storyboard_width": 120}).run(media)
    assert made_anew(rows["clip.mp4"]) == {"preview.storyboard"}
    assert not made_anew(rows["noise.png"])
    check_new_version(place, rows, {"storyboard", "storyboard-map"})


def test_a_ladder_by_content_is_tried_and_recorded(media: Path, place: Place):
    """A trial is a step with a record, which says what was measured and chosen."""
    content = {"heights": [72], "floor_db": 10.0, "ratio": 1.05, "gain_db": 0.0}
    rows = changed(place, **{"video.by_content": content}).run(media / "clip.mp4")
    assert "derive.trial" in made_anew(rows["clip.mp4"])
    records = [json.loads(path.read_bytes()) for path in place.files("store/results/**/*")]
    (trial,) = [record["values"] for record in records if record["step"] == "trial"]
    assert {point["height"] for point in trial["points"]} == {144, 72}
    rates = [rung["bit_rate"] for rung in trial["rungs"]]
    assert rates and rates == sorted(rates, reverse=True)


def check_new_version(place: Place, rows: dict[str, Any], different: set[str]) -> None:
    """The video has a further manifest version, published, in which only these variants differ from the first."""
    versions = [m for m in place.manifests() if m.asset_id == rows["clip.mp4"]["asset_id"]]
    first, last = versions[0], versions[-1]
    assert last.version == len(versions) > 1
    assert {v.name for v in last.variants if v.sha256 != first.variant(v.name).sha256} == different
    assert (place.out / "published" / "default" / last.asset_id / "current").readlink() == Path(f"v{last.version}")
    check_whole(place, versions=len(versions))


def test_the_same_content_under_another_name_is_another_asset(media: Path, place: Place, tmp_path: Path):
    """The default key is hash and name: a copy under a new name is an asset of its own, and nothing is made for it."""
    shutil.copy(media / "clip.mp4", tmp_path / "other.mp4")
    results, known = results_of(place), {m.asset_id for m in place.manifests()}
    rows = place.run(tmp_path / "other.mp4")
    assert rows["other.mp4"]["asset_id"] not in known
    assert made_anew(rows["other.mp4"]) <= NAMED
    assert set(results_of(place) - results) <= NAMED


def test_equal_content_is_worked_on_once_and_stays_the_same_when_moved(tmp_path: Path):
    """Copies in one run share every computation; a moved file is found, one with a new time is a duplicate."""
    place, folder = Place(tmp_path / "out"), tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name in ("one.png", "two.png"):
        picture(folder / name, seed=5)
    rows = place.run(folder)
    made = [made_anew(row) - NAMED for row in rows.values()]
    assert made[0] | made[1] and not made[0] & made[1]
    before = place.made()
    (folder / "one.png").rename(folder / "sub" / "one.png")
    os.utime(folder / "two.png", (1, 1))
    again = place.run(folder)
    assert [row["state"] for row in again.values()] == ["completed", "completed"]
    assert not made_anew(again["one.png"])
    assert [r["asset_id"] for r in place.table("events") if r["state"] == "duplicate"] == [rows["two.png"]["asset_id"]]
    assert place.made() == before
    check_whole(place)


def test_a_drained_run_is_finished_by_the_next(tmp_path: Path):
    """SIGTERM ends a run soon, with exit code 0 and nothing failed; the next run does what is left, and no more."""
    place = Place(tmp_path / "out")
    (tmp_path / "in").mkdir()
    clip(tmp_path / "in" / "clip.mp4", 12)
    picture(tmp_path / "in" / "noise.png")
    with place.started("run", tmp_path / "in", "--out", place.out) as running:
        first_line(running, "derive renditions")
        code, _, errors = interrupted(running, signal.SIGTERM)
        check_alone(running.pid)
    assert code == 0, errors
    assert "interrupted with" in errors and "Traceback" not in errors, errors
    assert not place.files("store/dead-letters/**/*")
    rows = place.run(tmp_path / "in")
    assert [row["state"] for row in rows.values()] == ["completed", "completed"]
    assert len(place.inbox()) == 2
    check_whole(place)
