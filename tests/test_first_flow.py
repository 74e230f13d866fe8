"""First playable through the real command: published while a video is taken in, adopted, withdrawn, and grown."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import av
import media_factory as media
import pytest
from flow_runs import Place, clip, pipeline_file

from chaos.waiting import eventually
from schemas.events import StatusChanged
from schemas.fold import newest

SECONDS = 8


def told(place: Place, asset_id: str) -> list[StatusChanged]:
    """The durable events of the asset's first playable, in order."""
    rows = [row["data"] for row in place.table("events") if row["asset_id"] == asset_id]
    events = [StatusChanged.model_validate_json(data) for data in rows if '"step":"first"' in data]
    return sorted(events, key=lambda event: (event.attempt, event.sequence))


def playlist(place: Place, asset_id: str) -> Path:
    """An asset's playlist."""
    [path] = place.files(f"store/first/default/{asset_id}/*/preview.m3u8")
    return path


def lengths(path: Path) -> list[float]:
    """The seconds of a playlist's segments."""
    return [float(each) for each in re.findall(r"#EXTINF:([0-9.]+),", path.read_text())]


def pictures(path: Path) -> int:
    """How many pictures FFmpeg shows of a playlist."""
    asked = ["-count_frames", "-select_streams", "v:0", "-show_entries", "stream=nb_read_frames", "-of", "json"]
    options = ["-v", "error", "-allowed_extensions", "ALL", "-protocol_whitelist", "file"]
    answer = subprocess.run(["ffprobe", *options, *asked, path], capture_output=True, check=True).stdout
    return int(json.loads(answer)["streams"][0]["nb_read_frames"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder with pipelines of short chunks and no models, and sources: a video, its twin, two bad ones."""
    folder = tmp_path_factory.mktemp("first")
    source = clip(folder / "film.mp4", SECONDS)
    shutil.copy(source, folder / "twin.mp4")
    (folder / "broken.mp4").write_bytes(damaged(source))
    (folder / "cut.mp4").write_bytes(source.read_bytes()[:30_000])
    pipelines = pipeline_file(folder / "pipelines.toml", video={"chunk_s": 2.0})
    pipelines.write_text('[default]\nprofile = "none"\n' + pipelines.read_text())
    return Place(folder / "out", {"ASSET_PIPELINE_PIPELINES_FILE": str(pipelines)})


def damaged(source: Path) -> bytes:
    """The video with its last key frame overwritten, which header and first pictures do not show."""
    with av.open(str(source)) as container:
        last = [p for p in container.demux(video=0) if p.size and p.is_keyframe][-1]
        place, size = last.pos, last.size
    data = bytearray(source.read_bytes())
    data[place + 10 : place + size] = bytes(size - 10)
    return bytes(data)


@pytest.fixture(scope="module")
def ran(place: Place) -> dict[str, dict[str, Any]]:
    """The rows of a run over the video, and of one over its twin and the others."""
    folder = place.out.parent
    first = place.run(folder / "film.mp4")
    return first | place.run(*(folder / f"{name}.mp4" for name in ("twin", "broken", "cut")), code=3)


def test_the_first_segment_is_told_with_its_url(place: Place, ran: dict[str, dict[str, Any]]) -> None:
    """One durable event has the URL of the playlist and the result that the segment was adopted under."""
    asset = ran["film.mp4"]["asset_id"]
    [event] = told(place, asset)
    assert (event.stage, event.state, event.cached) == ("preview", "completed", False)
    job = event.job_id
    assert event.url == (place.out / f"store/first/default/{asset}/{job}/preview.m3u8").as_uri()
    [result] = place.files(f"store/results/default/*/{event.result_id}.json")
    assert [o["role"] for o in json.loads(result.read_text())["outputs"]] == ["part", "part"]


def test_only_the_owner_can_read_it(place: Place, ran: dict[str, dict[str, Any]]) -> None:
    """In a folder, the private files lie where no other user can go."""
    assert ran
    assert stat.S_IMODE((place.out / "store" / "first").stat().st_mode) == 0o700


@pytest.mark.tool("ffprobe")
@pytest.mark.parametrize("name", ["film.mp4", "twin.mp4"])
def test_the_playlist_grows_to_the_whole_video(place: Place, ran: dict[str, dict[str, Any]], name: str) -> None:
    """It ends with all of the pictures and the whole duration; also where the preview was there already."""
    path = playlist(place, ran[name]["asset_id"])
    assert path.read_text().endswith("#EXT-X-ENDLIST\n") and len(lengths(path)) > 2
    assert sum(lengths(path)) == pytest.approx(SECONDS, abs=0.01)
    assert pictures(path) == SECONDS * 24


def test_the_same_bytes_are_found(place: Place, ran: dict[str, dict[str, Any]]) -> None:
    """A second ingest of the same bytes is adopted under the result that stands, and has a place of its own."""
    [one], [other] = (told(place, ran[name]["asset_id"]) for name in ("film.mp4", "twin.mp4"))
    assert other.cached and other.result_id == one.result_id and other.url != one.url


def test_what_fails_later_is_withdrawn(place: Place, ran: dict[str, dict[str, Any]]) -> None:
    """Once integrity fails nobody can play it any more, and the last event of the step has the code."""
    row = ran["broken.mp4"]
    assert (row["state"], row["code"]) == ("failed", "corrupt_media")
    published, withdrawn = told(place, row["asset_id"])
    assert published.url and published.state == "completed"
    assert (withdrawn.state, withdrawn.code) == ("failed", "corrupt_media")
    assert newest([withdrawn, published]) == [withdrawn]
    assert not place.files(f"store/first/default/{row['asset_id']}/**/*")


@pytest.mark.tool("ffprobe")
def test_a_killed_run_s_playlist_goes_on(place: Place, tmp_path: Path) -> None:
    """After kill -9 in the middle of its growth the playlist still comes to its end, every picture once."""
    mine = Place(tmp_path / "out", place.environment | {"ASSET_PIPELINE_HEAVY_WORKERS": "1"})
    source = media.write(tmp_path / "long.mp4", media.Clip(pts=range(24 * 14), pixel_format="yuv444p"))

    def growing() -> bool:
        found = mine.files("store/first/default/*/*/preview.m3u8")
        return bool(found) and len(lengths(found[0])) > 1

    with mine.started("run", source, "--out", mine.out) as running:
        assert eventually(growing, 60)
        os.killpg(running.pid, signal.SIGKILL)
    row = mine.run(source)["long.mp4"]
    path = playlist(mine, row["asset_id"])
    assert path.read_text().endswith("#EXT-X-ENDLIST\n")
    assert pictures(path) == 24 * 14
    [event] = told(mine, row["asset_id"])
    assert event.state == "completed"


def test_what_the_gate_refuses_is_not_shown(place: Place, ran: dict[str, dict[str, Any]]) -> None:
    """Nothing is published of a source that the quick gate refuses, and the step says why."""
    asset = ran["cut.mp4"]["asset_id"]
    [event] = told(place, asset)
    assert (event.state, event.code, event.url) == ("skipped", "truncated", "")
    assert not place.files(f"store/first/default/{asset}/**/*")
