"""Stills that name their colour by code points (ITU-T H.273): shown as browsers show them, PQ and HLG tone mapped."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from browser import chromium
from media_fixtures import heic, png_chunk
from media_patches import Grid, Patches, painted, pictured, write_patches
from PIL import Image
from playwright.sync_api import Browser

from operators.media.colour import to_srgb
from operators.media.icc import code_points, profile
from operators.media.image import check_image
from operators.media.rendition import render_image
from operators.media.tonemap import nits_to_pq
from schemas.pipelines import ImageParams, Limits

__all__ = ["chromium"]
SIZE = (320, 60)
SRGB, P3, BT2020, PQ, HLG = (1, 13), (12, 13), (9, 13), (9, 16), (9, 18)
COLOURS: Grid = (((0.7, 0.3, 0.25), (0.3, 0.6, 0.35), (0.3, 0.35, 0.65), (0.5, 0.5, 0.5)),)
NITS = (0.1, 1, 10, 50, 100, 203, 400, 1000, 4000)
READ = """async path => {
  const picture = await createImageBitmap(await (await fetch(path)).blob());
  const canvas = new OffscreenCanvas(picture.width, picture.height), pixels = canvas.getContext("2d");
  pixels.drawImage(picture, 0, 0);
  return [...Array(%d).keys()].map(i => [...pixels.getImageData((i + 0.5) * picture.width / %d, 30, 1, 1).data]);
}"""


def still(path: Path, grid: Grid, points: tuple[int, int]) -> Path:
    """A picture of the grid's cells in the format of its name."""
    rgb = np.rint(painted(grid, SIZE) * 255).astype(np.uint8)
    if path.suffix == ".avif":
        options = (("crf", "4"), ("preset", "10"), ("svtav1-params", "lp=1"))
        tags = (*points, 9 if points[0] == 9 else 6)
        return write_patches(path, Patches(grid, tags, True, "yuv420p10le", "libsvtav1", SIZE, 1, options=options))
    if path.suffix == ".heic":
        path.write_bytes(heic(Image.fromarray(rgb), points=points))
        return path
    data = io.BytesIO()
    Image.fromarray(rgb).save(data, "PNG")
    head, chunk = 33, png_chunk(b"cICP", bytes((*points, 0, 1)))
    path.write_bytes(data.getvalue()[:head] + chunk + data.getvalue()[head:])
    return path


def delivered(path: Path, out: Path, columns: int) -> tuple[np.ndarray, dict[str, Path]]:
    """The cells' colours 0..255 in the widest rendition, and all files by role."""
    out.mkdir()
    files = render_image(path, out, ImageParams(quality=95)).files
    return pictured(out / files[0].name, 1, columns)[0], {file.role: out / file.name for file in files}


@pytest.mark.parametrize("points", [P3, BT2020])
@pytest.mark.parametrize("name", ["a.avif", "a.heic", "a.png"])
def test_a_wide_gamut_becomes_srgb_and_is_kept(name: str, points: tuple[int, int], tmp_path: Path) -> None:
    """Within 5 of 255 of the same picture with another maker's ICC profile; the AVIF has the stored values and ours."""
    path = still(tmp_path / name, COLOURS, points)
    found, files = delivered(path, tmp_path / "out", 4)
    stored = Image.fromarray(np.rint(np.array(COLOURS) * 255).astype(np.uint8))
    assert found == pytest.approx(np.asarray(judged(stored, points))[0].astype(float), abs=5)
    with Image.open(files["wide"]) as wide:
        assert profile(*points) == wide.info["icc_profile"]
    assert pictured(files["wide"], 1, 4)[0] == pytest.approx(np.array(COLOURS[0]) * 255, abs=5)
    described = check_image(path, Limits())
    assert (described.colour_profile, described.wide_gamut) == (
        {P3: "Display P3", BT2020: "Rec. 2020"}[points],
        True,
    )
    assert described.bit_depth == (10 if name == "a.avif" else 8)


def judged(picture: Image.Image, points: tuple[int, int]) -> Image.Image:
    """The picture in sRGB: by libvips' profile of P3, and for BT.2020 by ITU-R BT.2087's matrix."""
    if points == P3:
        image = pyvips.Image.new_from_array(np.asarray(picture), interpretation="srgb")
        return Image.fromarray(image.icc_transform("srgb", input_profile="p3", intent="relative").numpy())
    values = np.asarray(picture) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    to709 = [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
    light = np.clip(linear @ np.array(to709).T, 0, 1)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return Image.fromarray(np.rint(shown * 255).astype(np.uint8))


@pytest.mark.tool("chromium")
@pytest.mark.parametrize("points", [SRGB, P3, BT2020])
@pytest.mark.parametrize("name", ["a.avif", "a.png"])
def test_a_browser_shows_it_so(name: str, points: tuple[int, int], chromium: Browser, tmp_path: Path) -> None:
    """Chromium paints the file as our rendition of it, within 5 of 255."""
    path = still(tmp_path / name, COLOURS, points)
    found, _ = delivered(path, tmp_path / "out", 4)
    page = chromium.new_page()
    page.route("**/*", lambda route: route.fulfill(path=path) if route.request.url.endswith(name) else blank(route))
    page.goto("http://127.0.0.1:9/")
    painted_: list[list[int]] = page.evaluate(READ % (4, 4), f"/{name}")
    page.close()
    assert found == pytest.approx(np.array(painted_, float)[:, :3], abs=5)


def blank(route: Any) -> None:
    """An empty page."""
    route.fulfill(body="<!doctype html>", content_type="text/html")


@pytest.mark.parametrize("name", ["a.avif", "a.png", "a.heic"])
@pytest.mark.parametrize("points", [PQ, HLG])
def test_high_dynamic_range_is_tone_mapped(name: str, points: tuple[int, int], tmp_path: Path) -> None:
    """Patches from 0.1 cd/m2 on come out distinct, in order and grey, diffuse white bright and not yet white."""
    levels = nits_to_pq(np.array(NITS)) if points == PQ else np.array([0.05, 0.2, 0.35, 0.5, 0.6, 0.75, 0.85, 0.95, 1])
    path = still(tmp_path / name, (tuple((float(level),) * 3 for level in levels),), points)
    found, files = delivered(path, tmp_path / "out", len(levels))
    assert np.ptp(found, axis=1).max() <= 6
    assert np.diff(found.mean(axis=1)).min() >= 1
    assert 210 <= found[5].mean() <= 240
    assert "wide" not in files
    assert check_image(path, Limits()).colour_profile == {PQ: "Rec. 2020 PQ", HLG: "Rec. 2020 HLG"}[points]


def test_a_profile_that_names_pq_is_enough(tmp_path: Path) -> None:
    """A JPEG whose ICC profile has the tag of code points is mapped too, alpha is kept."""
    icc = profile(*PQ)
    assert icc and code_points(icc) == PQ
    grey = round(255 * float(nits_to_pq(np.array(203.0))))
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 64), (grey,) * 3).save(path, icc_profile=icc)
    found, _ = delivered(path, tmp_path / "out", 1)
    assert found[0] == pytest.approx((226,) * 3, abs=5)
    assert to_srgb(Image.new("RGBA", (1, 1), (grey, grey, grey, 7)), icc).getpixel((0, 0))[3] == 7


@pytest.mark.parametrize("icc", [b"", b"cicp", bytes(200), (profile(*PQ) or b"")[:150], (profile(*PQ) or b"")[:-300]])
def test_a_broken_profile_names_nothing(icc: bytes) -> None:
    """A profile that ends early is none."""
    assert code_points(icc) is None
    assert to_srgb(Image.new("RGB", (1, 1), (1, 2, 3)), icc).getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize("points", [SRGB, (1, 1), (2, 2), (22, 13), (9, 99), (200, 16)])
def test_what_is_srgb_or_unknown_is_left_alone(points: tuple[int, int], tmp_path: Path) -> None:
    """Colours come out as they were stored."""
    path = still(tmp_path / "a.png", COLOURS, points)
    found, files = delivered(path, tmp_path / "out", 4)
    assert found == pytest.approx(np.array(COLOURS[0]) * 255, abs=4)
    assert "wide" not in files and check_image(path, Limits()).colour_profile is None
