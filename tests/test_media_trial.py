"""The ladder by content: what a trial measures, what is chosen from it, and how ladders compare."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import imageio_ffmpeg
import media_factory as make
import numpy as np
import pytest

from operators.media.probe import quick_probe
from operators.media.trial import Point, bits_at_equal_quality, candidates, chosen, stretches_of, trial
from operators.media.xpsnr import EVERY, coded, scaled, xpsnr
from schemas.errors import AssetError
from schemas.pipelines import ByContent, Limits, VideoEncode, VideoParams
from schemas.technical import Technical

SIZE = (320, 180)
SMALL = VideoParams(
    mezzanine=VideoEncode(height=180, crf=21, gop_s=2.0), by_content=ByContent(heights=(1080, 120, 90), floor_db=20)
)


def textured(detail: int, pictures: int) -> list[np.ndarray]:
    """Grey noise, smooth over `detail` pixels, that wanders: (height, width, 3) each."""
    random = np.random.default_rng(3)
    coarse = random.integers(30, 220, (400 // detail, 600 // detail), np.uint8)
    large = np.kron(coarse, np.ones((detail, detail), np.uint8))
    moves = [(i * 2, i * 3) for i in range(pictures)]
    return [np.repeat(large[y : y + SIZE[1], x : x + SIZE[0], None], 3, axis=2).copy() for y, x in moves]


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of wandering texture."""
    path = tmp_path_factory.mktemp("trial") / "moving.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast", "crf": "12"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for pixels in textured(4, 48):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path


def technical(path: Path) -> Technical:
    """What the gate finds."""
    return quick_probe(path, "video", Limits())


@pytest.fixture(scope="module")
def points(moving: Path) -> tuple[Point, ...]:
    """A trial's points."""
    return trial(moving, technical(moving), SMALL)


def test_a_trial_measures_each_height_that_the_video_has(points: tuple[Point, ...]) -> None:
    """Bits and quality fall as the rate factor rises, quality with the height; nothing is larger than the source."""
    assert [point.height for point in points] == [180] * 3 + [120] * 3 + [90] * 3
    for one, other in pairwise(points):
        if one.height == other.height:
            assert one.bits > other.bits and one.quality > other.quality
    best = [point for point in points if point.crf == 20]
    assert best == sorted(best, key=lambda point: -point.quality)


def test_a_trial_gives_the_same_each_time_but_for_x264s_own_noise(moving: Path, points: tuple[Point, ...]) -> None:
    """x264 reads memory that it did not write, which moves sizes by about a percent; nothing else may differ."""
    for one, other in zip(trial(moving, technical(moving), SMALL), points, strict=True):
        assert (one.height, one.crf) == (other.height, other.crf)
        assert one.bits == pytest.approx(other.bits, rel=0.03)
        assert one.quality == pytest.approx(other.quality, abs=0.2)


def test_stretches_are_upright_pictures_from_where_they_are_asked_for(tmp_path: Path) -> None:
    """A stretch begins at its place, not at the key picture before it, and one near the end is as long."""
    path = make.write(tmp_path / "c.mp4", make.Clip(rotation=90, gop=48))
    found = list(stretches_of(path, technical(path), SMALL, [Fraction(1, 3), Fraction(1)]))
    numbers = [[make.number_of(picture, -1) for picture in one.pictures] for one in found]
    assert numbers[0] == list(range(31, 79))
    assert numbers[1] == list(range(47, 95)) or numbers[1] == list(range(48, 96))
    assert (found[0].pictures[0].width, found[0].pictures[0].height) == (180, 320)


def test_a_video_shorter_than_a_stretch_is_tried_whole(tmp_path: Path) -> None:
    """A few pictures are enough, and sound alone is an error with a code."""
    path = make.write(tmp_path / "c.mp4", make.Clip(pts=range(5)))
    assert {len(one.pictures) for one in stretches_of(path, technical(path), SMALL)} <= {1, 2, 3, 4, 5}
    sound = make.write_sound(tmp_path / "a.wav", make.tone(1, 0.2))
    with pytest.raises(AssetError, match="no_media_stream"):
        trial(sound, quick_probe(sound, "audio", Limits()), SMALL)


def test_quality_is_what_ffmpeg_finds(tmp_path: Path) -> None:
    """XPSNR of an encode is equal to that of another FFmpeg's filter on the same pictures, within 0.1 dB."""
    pixels = [av.VideoFrame.from_ndarray(one, "rgb24") for one in textured(4, 19)]
    reference = list(scaled(pixels, SIZE))
    _, shown = coded(iter(reference), Fraction(24), 34, "veryfast")
    ours = xpsnr(reference[::EVERY], shown)
    shape = ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "320x180")
    for name, pictures in (("a.yuv", reference[::EVERY]), ("b.yuv", shown)):
        (tmp_path / name).write_bytes(b"".join(picture.to_ndarray().tobytes() for picture in pictures))
    inputs = [word for name in ("a.yuv", "b.yuv") for word in (*shape, "-i", str(tmp_path / name))]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *inputs, "-lavfi", "xpsnr=stats_file=-", "-f", "null", "-"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    each = [[float(value) for value in found] for found in re.findall(r"n: .*y: *(\S+).*u: *(\S+).*v: *(\S+)", told)]
    assert len(each) == 4, told
    theirs = sum((6 * y + min(u, 60) + min(v, 60)) / 8 for y, u, v in each) / 4
    assert ours == pytest.approx(theirs, abs=0.1) and 20 < ours < 50


def curve(height: int, best: float, bits: float) -> list[Point]:
    """Quality falls by 0.6 dB and bits by 12 % for each step of the rate factor."""
    return [Point(height, crf, bits * 0.88 ** (crf - 20), best - 0.6 * (crf - 20)) for crf in (20, 28, 36)]


FILM = [*curve(1080, 44, 4e6), *curve(720, 42, 2.2e6), *curve(540, 40, 1.3e6), *curve(360, 36.5, 6e5)]
STILL = [*curve(1080, 58, 3e5), *curve(720, 57.5, 2.9e5), *curve(540, 57, 2.8e5)]


@pytest.mark.parametrize("ratio", [1.4, 1.8, 3.0])
@pytest.mark.parametrize("floor", [25.0, 33.0, 38.0])
@pytest.mark.parametrize("gain", [0.1, 0.8, 2.5])
@pytest.mark.parametrize("trial_points", [FILM, STILL])
def test_rungs_fall_by_the_ratio_and_keep_the_floor(
    trial_points: list[Point], ratio: float, floor: float, gain: float
) -> None:
    """Each rung costs so much less than the one above, none looks worse than the floor, each brings enough."""
    params = ByContent(ratio=ratio, floor_db=floor, gain_db=gain, most=4)
    rungs = chosen(trial_points, 21, params)
    offered = {(p.height, p.crf): p for p in candidates(trial_points)}
    points = [offered[rung.height, rung.crf] for rung in rungs]
    assert 0 < len(points) <= 4 and all(point.quality >= floor for point in points)
    assert points[0].bits <= offered[1080, 21].bits / ratio
    for one, other in pairwise(points):
        assert other.bits <= one.bits / ratio and one.quality - other.quality >= gain
    best = {rung.bit_rate: max(p.quality for p in offered.values() if p.bits <= point.bits)
            for rung, point in zip(rungs, points, strict=True)}  # fmt: skip
    assert [point.quality for point in points] == list(best.values())
    assert all(abs(rung.bit_rate / point.bits - 1) < 0.06 for rung, point in zip(rungs, points, strict=True))


def test_a_ladder_leaves_the_size_that_serves_a_rate_best() -> None:
    """Where detail is fine small pictures serve low rates; where it is coarse, the full size serves all."""
    params = ByContent()
    assert [rung.height for rung in chosen(FILM, 21, params)][-1] == 360
    assert {rung.height for rung in chosen(STILL, 21, params)} == {1080}
    assert len(chosen(STILL, 21, ByContent(gain_db=6.0))) < len(chosen(STILL, 21, params))
    assert not chosen(FILM, 21, ByContent(floor_db=50)) and not chosen(FILM, 21, ByContent(most=0))


def test_ladders_compare_by_bits_at_equal_quality() -> None:
    """A ladder equals itself; half the bits for the same quality are half; strangers cannot be compared."""
    ladder = curve(720, 42, 2e6)
    halved = [Point(p.height, p.crf, p.bits / 2, p.quality) for p in ladder]
    assert bits_at_equal_quality(ladder, ladder) == pytest.approx(1)
    assert bits_at_equal_quality(halved, ladder) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="in common"):
        bits_at_equal_quality(curve(720, 60, 1e6), curve(720, 30, 1e6))
