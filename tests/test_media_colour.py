"""Every output shows the source's colours, upright: standard range as it is, HDR and wide colour mapped to BT.709."""

from __future__ import annotations

import colorsys
import json
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import media_factory as make
import numpy as np
import pytest
from av.video.format import names
from media_patches import Grid, Patches, coded, middle, pictured, shown, write_patches
from media_rendering import FAST, planned, rendered

from operators.media.filters import standard_filters, wide_filters
from operators.media.frames import Upright, decoded
from operators.media.h273 import Colour
from operators.media.probe import quick_probe
from operators.media.tonemap import nits_to_pq, pq_to_nits
from schemas.pipelines import Limits
from schemas.technical import VideoTrack

RED, GREEN, BLUE, GREY = (0.8, 0.1, 0.1), (0.1, 0.7, 0.2), (0.15, 0.2, 0.85), (0.5, 0.5, 0.5)
QUARTERS: Grid = ((RED, GREEN), (BLUE, GREY))
PQ, HLG, WIDE = (9, 16, 9), (9, 18, 9), (9, 14, 9)
NITS = (0.1, 1, 10, 100, 203, 400, 1000, 4000)


def grey(values: Any) -> Grid:
    return (tuple((float(v),) * 3 for v in values),)


def outputs(path: Path, folder: Path, rows: int, columns: int) -> dict[str, np.ndarray]:
    """Colours 0..255 of the grid's cells in every output of a clip."""
    joined, results = rendered(path, folder, planned(path))
    kept = results[0].kept
    assert kept.poster is not None
    names = {"poster": kept.poster[0], "storyboard": kept.tiles[0][1], "stills": kept.stills[0][1]}
    found = {name: pictured(folder / file, rows, columns) for name, file in names.items()}
    videos = {"mezzanine": joined, "preview": folder / dict(results[0].encodes)["preview"]}
    return found | {name: shown(file, rows, columns) for name, file in videos.items()}


def track_of(path: Path) -> VideoTrack:
    video = quick_probe(path, "video", Limits()).video
    assert video is not None
    return video


def mezzanine(tmp_path: Path, clip: Patches) -> np.ndarray:
    path = write_patches(tmp_path / "c.mkv", clip)
    plan = planned(path).only({"mezzanine"})
    return shown(rendered(path, tmp_path / "o", plan)[0], len(clip.grid), len(clip.grid[0]))


@pytest.mark.parametrize(
    ("tags", "full", "pixel_format"),
    [
        ((1, 1, 1), False, "yuv420p"),
        ((1, 1, 1), True, "yuv420p"),
        ((1, 1, 1), False, "yuv420p10le"),
        ((1, 1, 1), True, "yuv422p10le"),
        ((6, 6, 6), False, "yuv420p"),
        ((6, 6, 6), True, "yuv444p"),
        ((5, 6, 5), False, "yuv422p"),
        ((2, 2, 2), False, "yuv444p10le"),
        ((7, 7, 7), False, "yuv420p"),
        ((4, 4, 4), False, "yuv420p"),
        ((1, 13, 0), True, "rgb24"),
    ],
)
def test_every_output_shows_the_sources_colours(
    tmp_path: Path, tags: tuple[int, int, int], full: bool, pixel_format: str
) -> None:
    """Patches in BT.601 and BT.709, limited and full range, 8 and 10 bits, Y'CbCr and RGB keep their colours."""
    name, codec = ("c.mov", "png") if pixel_format == "rgb24" else ("c.mkv", "ffv1")
    path = write_patches(tmp_path / name, Patches(QUARTERS, tags, full, pixel_format, codec))
    for name, seen in outputs(path, tmp_path / "o", 2, 2).items():
        assert np.abs(seen - np.array(QUARTERS) * 255).max() < 6, (name, seen)


@pytest.mark.parametrize(("height", "matrix"), [(720, 1), (576, 6)])
def test_an_untagged_source_is_taken_as_players_take_it(tmp_path: Path, height: int, matrix: int) -> None:
    """Without tags, BT.709 from 720 lines up and BT.601 below, whatever has to be converted."""
    clip = Patches(QUARTERS, (2, 2, matrix), False, "yuv444p10le", size=(height * 16 // 9 // 2 * 2, height), frames=1)
    path = write_patches(tmp_path / "c.mkv", clip, untagged=True)
    assert track_of(path).matrix == "unspecified"
    seen = shown(rendered(path, tmp_path / "o", planned(path).only({"mezzanine"}))[0], 2, 2)
    assert np.abs(seen - np.array(QUARTERS) * 255).max() < 6


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.tool("ffmpeg")
def test_every_output_stands_upright(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    """Phones' rotations and mirrored pictures, with sound: each output stands as ffmpeg's player would show it."""
    clip = Patches(QUARTERS, codec="libx264", options=(("crf", "8"),), turn=(degrees, mirrored))
    path = write_patches(tmp_path / "c.mov", clip, make.tone(0.25, 0.2))
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", str(tmp_path / "player.png")]
    subprocess.run(command, check=True)
    wanted = pictured(tmp_path / "player.png", 2, 2)
    for name, seen in outputs(path, tmp_path / "o", 2, 2).items():
        assert np.abs(seen - wanted).max() < 12, (name, seen)
    made = track_of(tmp_path / "o" / "joined.mp4")
    assert (made.rotation, made.mirrored) == (0, False)
    assert (made.width < made.height) == (degrees in (90, 270))


@pytest.mark.tool("ffprobe")
@pytest.mark.parametrize(("tags", "wanted"), [((6, 6, 6), "smpte170m"), (PQ, "bt709"), (WIDE, "bt709")])
def test_tags_tell_the_colour_that_is_shown(tmp_path: Path, tags: tuple[int, int, int], wanted: str) -> None:
    """Mezzanine and preview are tagged, in limited range, with the colour in which they are coded."""
    path = write_patches(tmp_path / "c.mkv", Patches(QUARTERS, tags, pixel_format="yuv420p10le"))
    joined, results = rendered(path, tmp_path / "o", planned(path))
    for file in (joined, tmp_path / "o" / dict(results[0].encodes)["preview"]):
        command = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_streams", "-of", "json", str(file)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["streams"][0]
        assert {found[f"color_{name}"] for name in ("space", "transfer", "primaries")} == {wanted}
        assert (found["color_range"], found["pix_fmt"], found["sample_aspect_ratio"]) == ("tv", "yuv420p", "1:1")


@pytest.mark.parametrize("full", [False, True])
def test_nits_come_out_distinct_and_in_order(tmp_path: Path, full: bool) -> None:
    """PQ greys from 0.1 to 4,000 cd/m2 stay grey and in order; diffuse white, 203, has 227 of 255."""
    clip = Patches(grey(nits_to_pq(np.array(NITS))), PQ, full, "yuv420p10le", size=(512, 64))
    seen = mezzanine(tmp_path, clip)[0]
    assert np.ptp(seen, axis=1).max() <= 2
    assert np.diff(seen.mean(axis=1)).min() >= 1
    assert seen[NITS.index(203)].mean() == pytest.approx(227, abs=2)
    assert seen[NITS.index(100)].mean() == pytest.approx(188, abs=2)


def test_greys_are_exact_from_black_to_white(tmp_path: Path) -> None:
    """Black is 0 and white 255 in every output, and no grey between them is off by more than rounding."""
    levels = (0, 0.1, 0.25, 0.5, 0.75, 1)
    path = write_patches(tmp_path / "c.mkv", Patches(grey(levels), size=(384, 216)))
    for name, seen in outputs(path, tmp_path / "o", 1, 6).items():
        assert np.abs(seen[0] - np.array(levels)[:, None] * 255).max() < 2, (name, seen)


def test_every_output_of_hdr_is_mapped(tmp_path: Path) -> None:
    """Preview, poster, storyboard and stills show the same standard range as the mezzanine."""
    clip = Patches(grey(nits_to_pq(np.array([1, 10, 100, 1000]))), PQ, pixel_format="yuv420p10le")
    found = outputs(write_patches(tmp_path / "c.mkv", clip), tmp_path / "o", 1, 4)
    for seen in found.values():
        assert np.abs(seen - found["mezzanine"]).max() < 5


def test_a_brighter_master_is_rolled_off_earlier(tmp_path: Path) -> None:
    """The peak of the mastering display makes room for highlights: 1,000 cd/m2 is darker where 4,000 are to come."""
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L({},1)"
    levels = []
    for peak in (1000, 4000):
        params = f"log-level=none:master-display={display.format(peak * 10_000)}:max-cll={peak},200:repeat-headers=1"
        options = (("preset", "ultrafast"), ("crf", "4"), ("x265-params", params))
        clip = Patches(
            grey(nits_to_pq(np.array([100, 1000, 4000]))), PQ, False, "yuv420p10le", "libx265", options=options
        )
        path = write_patches(tmp_path / f"{peak}.mp4", clip)
        mastering = track_of(path).mastering
        assert mastering is not None and mastering.max_nits == peak and mastering.min_nits == pytest.approx(0.0001)
        assert (mastering.max_cll, mastering.max_fall) == (peak, 200)
        assert mastering.primaries == pytest.approx((0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329))
        out = rendered(path, tmp_path / f"o{peak}", planned(path).only({"mezzanine"}))[0]
        levels.append(shown(out, 1, 3)[0].mean(axis=1))
    assert levels[0][1] - levels[1][1] > 3
    assert np.diff(levels, axis=1).min() >= 1


def test_hlg_is_mapped_as_its_reference_display_shows_it(tmp_path: Path) -> None:
    """HLG greys are neutral and in order; 75 %, reference white (BT.2408), is as bright as PQ's 203 cd/m2."""
    seen = mezzanine(tmp_path, Patches(grey((0.1, 0.25, 0.5, 0.75, 0.9, 1)), HLG, pixel_format="yuv420p10le"))[0]
    assert np.ptp(seen, axis=1).max() <= 2 and np.diff(seen.mean(axis=1)).min() >= 1
    assert seen[3].mean() == pytest.approx(227, abs=2)


def rainbow(level: float) -> Grid:
    """Red, yellow, green, cyan, blue and magenta of the source's own primaries."""
    return (tuple(tuple(level * bit for bit in one) for one in _CORNERS),)  # type: ignore[return-value]


_CORNERS = ((1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1))


@pytest.mark.parametrize(
    ("tags", "level"),
    [
        (PQ, float(nits_to_pq(np.array(20)))),
        (PQ, float(nits_to_pq(np.array(1000)))),
        (HLG, 0.75),
        (WIDE, 1.0),
        ((12, 1, 1), 1.0),
    ],
)
def test_saturated_colours_keep_their_hue(tmp_path: Path, tags: tuple[int, int, int], level: float) -> None:
    """Primaries outside of BT.709 come in without leaving their order round the colour circle, or turning grey."""
    seen = mezzanine(tmp_path, Patches(rainbow(level), tags, pixel_format="yuv444p10le", size=(384, 64)))[0]
    hues, saturations, _ = np.array([colorsys.rgb_to_hsv(*np.clip(one / 255, 0, 1)) for one in seen]).T
    turn = (hues * 360 + 30) % 360 - 30
    assert np.abs(turn - np.arange(6) * 60).max() < 40 and np.diff(turn).min() > 20
    assert saturations.min() > 0.6


def test_a_mapped_colour_of_bt709_is_itself(tmp_path: Path) -> None:
    """BT.709 colours in a BT.2020 container come back as they were, but for the soft edge of the gamut."""
    known = np.array([[0.4, 0.3, 0.25], [0.2, 0.5, 0.3], [0.3, 0.4, 0.6], [0.9, 0.85, 0.8]])
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087
    wide = ((known**2.4) @ to_2020.T) ** (1 / 2.4)
    grid: Grid = (tuple(tuple(map(float, one)) for one in wide),)  # type: ignore[assignment]
    seen = mezzanine(tmp_path, Patches(grid, WIDE, pixel_format="yuv420p10le"))[0]
    assert np.abs(seen - known * 255).max() < 5


def test_pq_is_that_of_st_2084() -> None:
    """Known points of the curve: 100 cd/m2 at 50.8 %, 203 at 58.1 %, 1,000 at 75.2 %, and back."""
    assert nits_to_pq(np.array([0, 100, 203, 1000, 10_000])) == pytest.approx([0, 0.508, 0.581, 0.752, 1], abs=5e-4)
    assert pq_to_nits(nits_to_pq(np.array(NITS))) == pytest.approx(NITS)


@pytest.mark.parametrize("turn", [None, (90, False)])
def test_the_hdr_branch_keeps_every_code(tmp_path: Path, turn: tuple[int, bool] | None) -> None:
    """Pictures for the HDR rendition are upright 10-bit 4:2:0 whose codes are the source's own."""
    grid = grey(nits_to_pq(np.array(NITS)))
    options = (("preset", "ultrafast"), ("x265-params", "log-level=none:lossless=1"))
    clip = Patches(grid, PQ, False, "yuv420p10le", "libx265", (512, 64), turn=turn, options=options)
    path = write_patches(tmp_path / "c.mp4", clip)
    branch = Upright(wide_filters(track_of(path), (512, 64)), Fraction(1, 12288))
    frame = next(picture for stored in decoded(path, None, None) for picture in branch.push(stored))
    assert frame.format.name == "yuv420p10le" and (frame.color_primaries, frame.color_trc) == (9, 16)
    assert (frame.color_range, frame.colorspace) == (1, 9)
    luma = np.frombuffer(frame.planes[0], np.uint16).reshape(frame.height, -1)[:, : frame.width]
    luma = luma if turn is None else np.rot90(luma, 1 if track_of(path).rotation == 90 else -1)
    wanted = np.rint(coded(np.array(grid[0]), 9, False, 10)[0])
    assert luma[32, 32::64].tolist() == wanted.tolist()


# no colour, or too few
_POOR = {"monob", "monow", "pal8", "rgb4", "bgr4", "rgb4_byte", "bgr4_byte", "rgb8", "bgr8"}


def test_every_pixel_format_that_can_be_decoded_keeps_its_colour() -> None:
    """Packed, planar and half planar, 8 to 16 bits and float, big and little endian, with alpha and without."""
    drawn = np.zeros((16, 32, 3), np.uint8) + np.array([200, 40, 60], np.uint8)
    seen = dict[str, np.ndarray]()
    for name in sorted(names - _POOR):
        layout = av.VideoFormat(name)
        if name.startswith(("gray", "ya")):
            continue
        try:
            frame = av.VideoFrame.from_ndarray(drawn, "rgb24").reformat(format=name, dst_colorspace=1)
        except (ValueError, av.FFmpegError):
            continue  # the scaler cannot make it
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        alpha = any(component.is_alpha for component in layout.components)
        full: Any = "full" if name.startswith("yuvj") else "unspecified"
        track = VideoTrack(codec="x", width=32, height=16, pixel_format=name, matrix="bt709", alpha=alpha, range=full)
        branch = Upright(standard_filters(track, (32, 16), Colour(1, 1, 1)), Fraction(1, 25))
        picture = [*branch.push(frame), *branch.flush()][0]
        seen[name] = middle(picture)
    assert len(seen) > 150 and {"yuv420p", "nv12", "p010le", "yuv411p", "rgb24", "gbrp12le", "yuva444p12le"} <= set(
        seen
    )
    assert {name: rgb for name, rgb in seen.items() if np.abs(rgb - (200, 40, 60)).max() > 6} == {}


def test_alpha_lies_over_black(tmp_path: Path) -> None:
    """Half transparent white becomes grey and what cannot be seen black, whatever colour is stored under it."""
    bright: Grid = (((1.0, 1.0, 1.0), (0.2, 0.8, 0.4)),)
    for alpha, scale in ((1.0, 1.0), (0.5, 0.5), (0.0, 0.0)):
        clip = Patches(bright, (1, 13, 2), True, "rgba", "png", alpha=alpha, frames=2)
        path = write_patches(tmp_path / f"{alpha}.mov", clip)
        assert track_of(path).alpha
        seen = shown(rendered(path, tmp_path / str(alpha), planned(path).only({"mezzanine"}))[0], 1, 2)
        assert np.abs(seen - np.array(bright) * scale * 255).max() < 6


def test_alpha_of_10_bit_pictures_lies_over_black(tmp_path: Path) -> None:
    """ProRes 4444 is laid over black in its own depth and matrix."""
    clip = Patches(QUARTERS, (1, 1, 1), False, "yuva444p10le", "prores_ks", alpha=0.5, frames=2)
    path = write_patches(tmp_path / "c.mov", clip)
    seen = shown(rendered(path, tmp_path / "o", planned(path).only({"mezzanine"}))[0], 2, 2)
    assert np.abs(seen - np.array(QUARTERS) * 127.5).max() < 6


@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.0])
def test_the_alpha_of_webm_lies_over_black(tmp_path: Path, alpha: float) -> None:
    """VP9's alpha, a second picture beside each, is decoded too."""
    options = (("deadline", "realtime"), ("cpu-used", "8"), ("auto-alt-ref", "0"), ("crf", "10"), ("b", "4M"))
    clip = Patches(QUARTERS, (1, 1, 1), False, "yuva420p", "libvpx-vp9", alpha=alpha, options=options)
    path = write_patches(tmp_path / "c.webm", clip)
    assert track_of(path).alpha
    seen = shown(rendered(path, tmp_path / "o", planned(path).only({"mezzanine"}))[0], 2, 2)
    assert np.abs(seen - np.array(QUARTERS) * 255 * alpha).max() < 8


def test_a_mapped_picture_says_what_it_is(tmp_path: Path) -> None:
    """The pictures themselves carry BT.709's tags, so that nothing maps them a second time."""
    path = write_patches(tmp_path / "c.mkv", Patches(QUARTERS, PQ, pixel_format="yuv420p10le"))
    plan = planned(path)
    branch = Upright(plan.filters, plan.time_base)
    frame = next(picture for stored in decoded(path, None, None) for picture in branch.push(stored))
    assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == (1, 1, 1, 1)


def test_chunks_of_hdr_join_to_every_picture(tmp_path: Path) -> None:
    """A tone-mapped video is cut and joined as any other: each picture once, at its time."""
    path = make.write(tmp_path / "pq.mp4", make.Clip(pixel_format="yuv420p10le", tags=PQ, gop=24))
    plan = planned(path, FAST)
    joined, _ = rendered(path, tmp_path / "o", plan)
    assert len(plan.chunks) > 2 and len(make.shown(joined)) == 96
    with av.open(str(joined)) as container:
        assert [float(f.time) for f in container.decode(video=0)] == pytest.approx([i / 24 for i in range(96)])
