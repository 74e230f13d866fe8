"""Animated pictures become clips: frames, times and colours as a program of others reads them, and their loops."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media_fixtures import BLUE, GREEN, RED, quarters
from picture_factory import animated
from PIL import Image

from operators.media.animation import render_clip
from operators.media.image import quick_image
from schemas.errors import AssetError
from schemas.pipelines import ClipParams, Limits

LIMITS = Limits()
DURATIONS = [100, 40, 250, 70]


def probed(path: Path) -> dict[str, Any]:
    """What ffprobe finds, each frame's time (s) with it."""
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-show_frames", "-of", "json", str(path)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def colours(path: Path, x: int = 90) -> list[tuple[int, ...]]:
    """The colour at (x, 40) of each frame."""
    with av.open(str(path)) as container:
        return [tuple(frame.to_ndarray(format="rgb24")[40, x].tolist()) for frame in container.decode(video=0)]


@pytest.mark.tool("ffprobe")
@pytest.mark.parametrize("kind", ["gif", "webp", "png", "avif"])
def test_an_animation_becomes_a_clip(tmp_path: Path, kind: str) -> None:
    """Each frame of the animation is one of the clip's, at its time and in its colour, to the end of the last."""
    path = animated(tmp_path / f"x.{kind}", DURATIONS)
    assert quick_image(path, LIMITS).animated
    clip = render_clip(path, tmp_path, ClipParams(crf=10), LIMITS)
    assert (clip.frames, clip.duration_ms, clip.loops) == (4, 460, 0)
    found = probed(tmp_path / "clip.mp4")
    (stream,) = found["streams"]
    assert [stream[key] for key in ("codec_name", "pix_fmt", "width", "height")] == ["h264", "yuv420p", 120, 80]
    assert {stream[f"color_{key}"] for key in ("primaries", "transfer", "space")} == {"bt709"}
    assert [round(float(frame["pts_time"]), 3) for frame in found["frames"]] == [0.0, 0.1, 0.14, 0.39]
    assert abs(float(found["format"]["duration"]) - 0.46) < 0.002
    assert abs(float(stream["duration"]) - 0.46) < 0.002
    expected = np.array([(0, 0, 0), RED, GREEN, BLUE])
    assert np.abs(np.array(colours(tmp_path / "clip.mp4")) - expected).max() < 12


def test_the_poster_is_a_frame_that_shows_something(tmp_path: Path) -> None:
    """Blank frames at the start are passed over; of nothing but blank frames the first is taken."""
    path = tmp_path / "x.gif"
    Image.new("RGB", (120, 80)).save(path, save_all=True, append_images=[Image.new("RGB", (120, 80), RED), quarters()])
    render_clip(path, tmp_path, ClipParams(), LIMITS)
    with Image.open(tmp_path / "poster.jpg") as poster:
        shown = poster.convert("RGB").getpixel((30, 20)), poster.convert("RGB").getpixel((30, 60))
    assert np.abs(np.array(shown) - [RED, BLUE]).max() < 16
    render_clip(animated(path, [50, 50]), tmp_path, ClipParams(), LIMITS)
    with Image.open(tmp_path / "poster.jpg") as poster:
        assert max(poster.convert("RGB").getpixel((30, 20))) < 8  # type: ignore[type-var, arg-type]


@pytest.mark.parametrize(
    ("kind", "loop", "expected"), [("gif", None, 1), ("gif", 0, 0), ("gif", 2, 3), ("webp", 3, 3), ("png", 2, 2)]
)
def test_loops_are_told(tmp_path: Path, kind: str, loop: int | None, expected: int) -> None:
    """How often an animation is played is told in one way; a GIF's own number is of repeats."""
    path = animated(tmp_path / f"x.{kind}", [50, 50], loop)
    assert render_clip(path, tmp_path, ClipParams(), LIMITS).loops == expected


def test_frames_without_a_time_are_shown_as_browsers_do(tmp_path: Path) -> None:
    """A frame that asks for 10 ms or none is shown for 100 ms."""
    assert render_clip(animated(tmp_path / "x.gif", [0, 10, 20]), tmp_path, ClipParams(), LIMITS).duration_ms == 220


def test_clear_parts_are_white(tmp_path: Path) -> None:
    """Where a frame is transparent the clip is white, and not the frame before."""
    path = animated(tmp_path / "x.png", [50, 50, 50], clear=True)
    render_clip(path, tmp_path, ClipParams(crf=10), LIMITS)
    assert min(min(colour) for colour in colours(tmp_path / "clip.mp4", 30)) > 240


@pytest.mark.parametrize(
    ("size", "expected"), [((121, 81), (120, 80)), ((1, 1), (2, 2)), ((400, 300), (134, 100)), ((30, 400), (30, 400))]
)
def test_sizes_of_clips(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    """A clip has even sides, and its shorter one is at most what the pipeline says."""
    path = tmp_path / "x.gif"
    Image.new("RGB", size, RED).save(path, save_all=True, append_images=[Image.new("RGB", size, BLUE)])
    (clip, _) = render_clip(path, tmp_path, ClipParams(height=100), LIMITS).files
    assert (clip.width, clip.height) == expected


def test_bad_animations(tmp_path: Path) -> None:
    """An animation over the time limit, one with too large frames and one cut short each have their code."""
    path, codes = animated(tmp_path / "x.webp", [600, 600]), []
    whole = path.read_bytes()
    (tmp_path / "cut.webp").write_bytes(whole[: len(whole) - 20])
    for name, limits in (("x", Limits(seconds=1.0)), ("x", Limits(pixels=1000)), ("cut", LIMITS)):
        with pytest.raises(AssetError) as raised:
            render_clip(tmp_path / f"{name}.webp", tmp_path, ClipParams(), limits)
        codes.append(raised.value.code)
    assert codes[:2] == ["too_long", "too_many_pixels"]
    assert codes[2] in ("truncated", "corrupt_image", "unreadable_header")


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff"])
def test_a_single_picture_is_not_animated(tmp_path: Path, kind: str) -> None:
    """One picture in a format that could hold more is no animation, and no more are a TIFF's pages."""
    quarters().save(tmp_path / f"x.{kind}")
    assert not quick_image(tmp_path / f"x.{kind}", LIMITS).animated
