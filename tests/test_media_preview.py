"""Storyboard, stills and poster: the pictures that they say they are."""

from __future__ import annotations

import zipfile
from fractions import Fraction
from pathlib import Path

import av
import media_factory as make
import pytest
from media_rendering import UNEVEN, planned, rendered
from PIL import Image

from operators.media.plan import RenderPlan
from operators.media.storyboard import sprite, stills_archive, webvtt_map
from operators.media.video import ChunkResult, render_chunk
from schemas.pipelines import PreviewParams


def test_the_storyboard_shows_what_it_says(tmp_path: Path) -> None:
    """Each cue's rectangle in the sprite holds the picture that is on screen at the cue's start."""
    path = make.write(tmp_path / "v.mp4", make.Clip(pts=UNEVEN))
    plan = planned(path, preview=PreviewParams(storyboard_every_s=0.5, storyboard_columns=4))
    _, results = rendered(path, tmp_path / "o", plan)
    tiles = {place: tmp_path / "o" / name for result in results for place, name in result.kept.tiles}
    pick = plan.storyboard
    assert pick is not None and sorted(tiles) == list(range(len(pick.times)))
    size = sprite(tiles, pick, 4, tmp_path / "sprite.jpg")
    assert size == (4 * 160, -(-len(pick.times) // 4) * 90)
    source = make.shown(path)
    sheet = Image.open(tmp_path / "sprite.jpg")
    cues = webvtt_map(pick, 4, plan.duration, "sprite.jpg").split("\n\n")
    assert cues[0] == "WEBVTT" and len(cues) == len(pick.times) + 1
    for i, cue in enumerate(cues[1:]):
        times, target = cue.strip().split("\n")
        start = 0.5 * i
        assert times.startswith(f"00:00:{int(start):02d}.{int(start % 1 * 1000):03d} --> ")
        x, y, w, h = map(int, target.removeprefix("sprite.jpg#xywh=").split(","))
        tile = av.VideoFrame.from_image(sheet.crop((x, y, x + w, y + h)))
        assert make.number_of(tile) == [number for time, number in source if time <= start][-1]


def test_a_long_video_has_no_more_tiles_than_the_most(tmp_path: Path) -> None:
    """The interval grows so that tiles and stills stay within their limits."""
    path = make.write(tmp_path / "c.mp4")
    plan = planned(path, preview=PreviewParams(storyboard_every_s=0.1, storyboard_most=7, candidate_most=3))
    assert plan.storyboard is not None and plan.stills is not None
    assert len(plan.storyboard.times) == 7 and plan.storyboard.every == pytest.approx(4 / 7)
    assert len(plan.stills.times) <= 3


def test_stills_are_named_by_their_time(tmp_path: Path) -> None:
    """The archive holds square JPEGs named by milliseconds, and equal stills make equal bytes."""
    path = make.write(tmp_path / "c.mp4")
    plan = planned(path, preview=PreviewParams(candidate_every_s=1.5, still_size=64))
    _, results = rendered(path, tmp_path / "o", plan)
    stills = {ms: tmp_path / "o" / name for result in results for ms, name in result.kept.stills}
    for name in ("a.zip", "b.zip"):
        stills_archive(stills, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["0000000000.jpg", "0000001500.jpg", "0000003000.jpg"]
        with archive.open("0000001500.jpg") as file:
            assert Image.open(file).size == (64, 64)


def test_tiles_on_key_frames_have_their_true_times(tmp_path: Path) -> None:
    """Where each tile's stretch has a key frame the tile is that one at its own time, and nothing else is decoded."""
    path = make.write(
        tmp_path / "c.mp4", make.Clip(pts=[3 * n + (n % 2) for n in range(96)], time_base=Fraction(1, 72))
    )
    plan = planned(path, preview=PreviewParams(storyboard_every_s=0.7)).only({"storyboard"})
    assert plan.keys_only and plan.storyboard is not None
    times = dict((number, float(time)) for time, number in make.shown(path))
    _, results = rendered_pictures(path, tmp_path, plan)
    tiles = {place: tmp_path / name for result in results for place, name in result.kept.tiles}
    for place, time in enumerate(plan.storyboard.times):
        number = make.number_of(av.VideoFrame.from_image(Image.open(tiles[place])))
        assert number % 12 == 0 and time == pytest.approx(times[number] - times[0], abs=1e-4)
    assert sum(result.frames for result in results) == 8


def test_sparse_key_frames_are_not_enough(tmp_path: Path) -> None:
    """Tiles nearer than the key frames are taken from all pictures."""
    path = make.write(tmp_path / "c.mp4")
    plan = planned(path, preview=PreviewParams(storyboard_every_s=0.3))
    assert not plan.only({"storyboard"}).keys_only and not plan.on_keys & {"storyboard"}


def rendered_pictures(path: Path, folder: Path, plan: RenderPlan) -> tuple[Path, list[ChunkResult]]:
    """All chunks of a plan without encodes."""
    return path, [render_chunk(path, folder, plan, *one) for one in plan.chunks]
