"""Picture formats beyond the usual ones: drawn or decoded to known colours, and each fault with its code."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pylibjxl
import pytest
import pyvips
from media_fixtures import ADOBE_RGB, BLUE, DISPLAY_P3, GREEN, REC_2020, RED, WHITE, display_p3, quarters
from picture_factory import SHAPES, SVG, apple_gain_map, dng, paged_tiff, segment_with_scan, ultra_hdr
from PIL import ExifTags, Image, ImageCms

from operators.media import jxl, raw, svg
from operators.media.content_type import detect, sample_of
from operators.media.image import check_image, quick_image
from operators.media.rendition import render_image
from operators.media.tiff_pages import render_pages
from operators.media.types import check_declared
from schemas.errors import CODES, AssetError
from schemas.pipelines import ImageParams, Limits

LIMITS = Limits()
QUARTERS = [RED, GREEN, BLUE, WHITE]
# raw development brightens and sharpens: colours are near their source's, not equal
DEVELOPED = 40


def widest(path: Path, out: Path, width: int = 100) -> pyvips.Image:
    """The widest rendition, read back by another library."""
    out.mkdir(exist_ok=True)
    made = render_image(path, out, ImageParams(widths=(width,), quality=95))
    return pyvips.Image.new_from_file(str(out / made.files[0].name))


def quarters_of(picture: pyvips.Image) -> list[list[float]]:
    """The colours in the middle of the quarters, row by row, with alpha where there is one."""
    points = [(x * picture.width // 4, y * picture.height // 4) for y in (1, 3) for x in (1, 3)]
    return [picture(*point) for point in points]


def near(found: Any, expected: Any, by: int = 8) -> bool:
    """Whether all channels differ by little."""
    return bool(np.abs(np.array(found, float) - np.array(expected, float)).max() <= by)


def code_of(path: Path, limits: Limits = LIMITS) -> str:
    """The code under which the picture is refused."""
    with pytest.raises(AssetError) as raised:
        check_image(path, limits)
    return raised.value.code


def exif_of(orientation: int) -> bytes:
    """EXIF in a JPEG XL box: the offset of the TIFF header, then that."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = orientation, "Example"
    return bytes(4) + exif.tobytes()[6:]


def test_jpeg_xl(tmp_path: Path) -> None:
    """A JPEG XL is told by its bytes, shows its colours, keeps alpha, and has its EXIF read but not applied twice."""
    path, clear = tmp_path / "x.jxl", quarters().convert("RGBA")
    clear.putalpha(128)
    path.write_bytes(pylibjxl.encode(np.asarray(clear), distance=0.5, exif=exif_of(1)))
    found = detect(sample_of(path))
    check_declared(found, "image/jxl", "x.jxl")
    picture = check_image(path, LIMITS)
    assert (found.media_type, found.kind, picture.format) == ("image/jxl", "image", "JXL")
    assert (picture.width, picture.height, picture.alpha, picture.bit_depth) == (120, 80, True, 8)
    assert picture.exif["Make"] == "Example"
    assert near(quarters_of(widest(path, tmp_path / "out")), [(*colour, 128) for colour in QUARTERS])


def test_jpeg_xl_has_its_profile_converted(tmp_path: Path) -> None:
    """A JPEG XL in Display P3 comes out in sRGB: a P3 red of 200 is redder there than its numbers say."""
    path = tmp_path / "x.jxl"
    path.write_bytes(pylibjxl.encode(np.full((60, 60, 3), (200, 90, 60), np.uint8), distance=0.3, icc=display_p3()))
    assert check_image(path, LIMITS).colour_profile == "Display P3 ok"
    assert near(quarters_of(widest(path, tmp_path / "out"))[0], (217, 84, 50), 6)


def test_damaged_jpeg_xl(tmp_path: Path) -> None:
    """A JPEG XL cut in half is corrupt, one cut in its header unreadable, a huge one refused from its header."""
    whole = pylibjxl.encode(np.asarray(quarters(400, 300)))
    (tmp_path / "half.jxl").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "head.jxl").write_bytes(whole[:3])
    (tmp_path / "whole.jxl").write_bytes(whole)
    assert code_of(tmp_path / "half.jxl") == "corrupt_image"
    assert code_of(tmp_path / "head.jxl") == "unreadable_header"
    assert code_of(tmp_path / "whole.jxl", Limits(pixels=100_000)) == "too_many_pixels"


@pytest.mark.parametrize(("orientation", "size"), [(1, (128, 96)), (6, (96, 128))])
def test_camera_raw(tmp_path: Path, orientation: int, size: tuple[int, int]) -> None:
    """A DNG is told from a TIFF, and developed upright in colours near those that the camera saw."""
    path = tmp_path / "x.dng"
    path.write_bytes(dng(quarters(128, 96), orientation))
    found = detect(sample_of(path))
    check_declared(found, None, "x.dng")
    assert (found.media_type, found.kind) == ("image/x-adobe-dng", "image")
    picture = check_image(path, LIMITS)
    assert (picture.format, picture.width, picture.height, picture.bit_depth) == ("RAW", *size, 16)
    assert (picture.exif["Make"], picture.exif["Model"]) == ("Example", "Camera 1")
    shown = quarters_of(widest(path, tmp_path / "out", 60))
    assert near(shown, QUARTERS if orientation == 1 else [BLUE, RED, WHITE, GREEN], DEVELOPED)


def test_damaged_camera_raw(tmp_path: Path) -> None:
    """A DNG that ends early is truncated."""
    (tmp_path / "x.dng").write_bytes(dng(quarters(128, 96))[:9000])
    assert code_of(tmp_path / "x.dng") == "truncated"


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its library a format has a code of its own, and the sentence names the extra to install."""
    (tmp_path / "x.jxl").write_bytes(pylibjxl.encode(np.asarray(quarters())))
    (tmp_path / "x.dng").write_bytes(dng(quarters(128, 96)))
    monkeypatch.setattr(jxl, "pylibjxl", None)
    monkeypatch.setattr(raw, "rawpy", None)
    for name, extra in (("x.jxl", "asset-pipeline[jxl]"), ("x.dng", "asset-pipeline[raw]")):
        with pytest.raises(AssetError) as raised:
            quick_image(tmp_path / name, LIMITS)
        assert raised.value.code == "library_missing" and extra in raised.value.sentence


@pytest.mark.parametrize(
    ("opening", "size"),
    [
        (SVG + 'width="120" height="80">', (120, 80)),
        (SVG + 'width="120mm" height="80mm" viewBox="0 0 120 80">', (454, 302)),
        (SVG + 'height="40" viewBox="0 0 120 80">', (60, 40)),
        ('<?xml version="1.0"?><!-- x -->\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" '
         '"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">\n' + SVG + 'viewBox="0 0 120 80">', (120, 80)),
    ],
)  # fmt: skip
def test_svg_is_drawn(tmp_path: Path, opening: str, size: tuple[int, int]) -> None:
    """An SVG has its own size in CSS pixels, and is drawn as wide as wanted, clear where it is empty."""
    path = tmp_path / "x.svg"
    path.write_text(f"{opening}{SHAPES}</svg>")
    found = detect(sample_of(path))
    check_declared(found, "image/svg+xml", "x.svg")
    picture = check_image(path, LIMITS)
    assert (found.kind, picture.format, picture.width, picture.height) == ("image", "SVG", *size)
    shown = widest(path, tmp_path / "out", 600)
    assert (shown.width, shown.height) == (600, round(600 * size[1] / size[0]))
    assert near(quarters_of(shown)[:3], [(*colour, 255) for colour in (RED, GREEN, BLUE)])
    assert quarters_of(shown)[3][3] == 0
    # an edge of a vector stays sharp at any size: one pixel between the two colours at most
    edge = [near(shown(x, 100)[:3], RED) or near(shown(x, 100)[:3], GREEN) for x in range(290, 310)]
    assert edge.count(False) <= 2


def words(path: Path, family: str, word: str) -> np.ndarray:
    """Where an SVG's word is dark when it is drawn."""
    text = f'<text x="2" y="60" font-size="50" {family}>{word}</text>'
    path.write_text(f'{SVG}width="120" height="80"><rect width="120" height="80" fill="white"/>{text}</svg>')
    with Image.open(path) as image:
        return np.asarray(image.convert("L")) < 128


@pytest.mark.parametrize("installed", [True, False], ids=["fonts of the system", "no fonts"])
def test_text_is_drawn_where_its_font_is_not_there(
    installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever family is asked for, the letters are there, each another one; without any font in Pillow's own."""
    if not installed:
        for name in ("SANS", "MONO"):
            monkeypatch.setattr(svg, name, ())
    for family in ("", "font-family='Nowhere Sans'", "font-family='Nowhere, serif'", "font-family='monospace'"):
        letters = [words(tmp_path / "x.svg", family, word) for word in ("H", "o", "HH")]
        ink = [int(letter.sum()) for letter in letters]
        assert min(ink) > 200 and ink[2] > 1.8 * ink[0] and (letters[0] != letters[1]).sum() > 200


def test_svg_in_utf16(tmp_path: Path) -> None:
    """An SVG in UTF-16 is told and drawn as one in UTF-8."""
    path = tmp_path / "x.svg"
    path.write_text(f'<?xml version="1.0" encoding="UTF-16"?>{SVG}width="120" height="80">{SHAPES}</svg>', "utf-16")
    assert detect(sample_of(path)).media_type == "image/svg+xml"
    assert near(quarters_of(widest(path, tmp_path / "out"))[0], (*RED, 255))


def _uses(levels: int) -> str:
    """Groups that each use the one before ten times."""
    groups = (f'<g id="g{i}">' + f'<use href="#g{i - 1}"/>' * 10 + "</g>" for i in range(1, levels))
    return f'<defs><g id="g0"><rect width="1" height="1"/></g>{"".join(groups)}</defs><use href="#g{levels - 1}"/>'


BAD_SVG = {
    "script": (f"{SVG}><script>alert(1)</script></svg>", "svg_script"),
    "handler": (f'{SVG}onload="alert(1)">{SHAPES}</svg>', "svg_script"),
    "link": (f'{SVG}><a href=" javascript:alert(1)"><rect/></a></svg>', "svg_script"),
    "remote": (f'{SVG}><image href="https://example.com/a.png"/></svg>', "svg_external"),
    "local": (f'{SVG}><image xlink:href="/etc/passwd"/></svg>', "svg_external"),
    "nested": (f'{SVG}><image href="data:image/svg+xml;base64,PHN2Zy8+"/></svg>', "svg_external"),
    "style": (f"{SVG}><style>@import url(https://example.com/a.css);</style></svg>", "svg_external"),
    "paint": (f'{SVG}><rect fill="url(https://example.com/a.svg#b)"/></svg>', "svg_external"),
    "laughs": (f'<!DOCTYPE svg [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>{SVG}><text>&b;</text></svg>', "svg_entities"),
    "file": (f'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]>{SVG}><text>&a;</text></svg>', "svg_entities"),
    "huge": (f'{SVG}width="100000000" height="90000000"/>', "too_many_pixels"),
    "uses": (f"{SVG}>{_uses(9)}</svg>", "corrupt_image"),
    "deep": (f"{SVG}>{'<g>' * 50_000}{'</g>' * 50_000}</svg>", "corrupt_image"),
    "cut": (f'{SVG}>{SHAPES}<rect width="', "truncated"),
    "unclosed": (f"{SVG}><g></rect></svg>", "unreadable_header"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_SVG)
def test_bad_svg(tmp_path: Path, name: str) -> None:
    """An SVG that would run, load, expand or exhaust something is refused, each kind with its code."""
    text, code = BAD_SVG[name]
    path = tmp_path / "x.svg"
    path.write_text(text)
    assert detect(sample_of(path)).media_type == "image/svg+xml"
    assert code_of(path) == code
    assert code in CODES


def test_svg_with_harmless_references(tmp_path: Path) -> None:
    """Links for people, gradients, reused parts and embedded pictures are no references to elsewhere."""
    path = tmp_path / "x.svg"
    with io.BytesIO() as file:
        Image.new("RGB", (1, 1), GREEN).save(file, "PNG")
        pixel = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    path.write_text(
        f'{SVG}width="120" height="80">'
        f'<defs><linearGradient id="g"><stop stop-color="rgb{RED}"/></linearGradient></defs>'
        f'<a href="https://example.com"><rect width="60" height="40" fill="url(#g)"/></a>'
        f'<image x="60" width="60" height="40" preserveAspectRatio="none" href="{pixel}"/></svg>'
    )
    shown = quarters_of(widest(path, tmp_path / "out"))
    assert near(shown[:2], [(*RED, 255), (*GREEN, 255)])


def test_pages_of_a_tiff(tmp_path: Path) -> None:
    """Every page of a TIFF becomes a picture, up to the limit; a reduced copy is none."""
    path = paged_tiff(tmp_path / "x.tif")
    assert quick_image(path, LIMITS).pages == 3
    pages = render_pages(path, tmp_path, ImageParams(widths=(200,), quality=95), LIMITS)
    assert [(p.name, p.number, p.width, p.height) for p in pages] == [
        ("page-0001.webp", 1, 120, 80),
        ("page-0002.webp", 2, 200, 67),
        ("page-0003.webp", 3, 60, 40),
    ]
    shown = [pyvips.Image.new_from_file(str(tmp_path / p.name)) for p in pages]
    assert near(quarters_of(shown[0]), QUARTERS)
    assert near(quarters_of(shown[1]), [GREEN] * 4)
    assert near(quarters_of(shown[2]), [(128,) * 3] * 4)
    assert len(render_pages(path, tmp_path, ImageParams(pages=2), LIMITS)) == 2


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "deflate", "predictor": "horizontal"},
        {"compression": "lzw", "tile": True},
        {"bigtiff": True},
    ],
)
@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bit_tiff(tmp_path: Path, options: dict[str, Any], alpha: bool) -> None:
    """16-bit colour of a TIFF, compressed, tiled or in BigTIFF, keeps its colours and alpha in 8 bits."""
    path = tmp_path / "x.tif"
    deep = (pyvips.Image.new_from_array(np.asarray(quarters())) * 257).cast("ushort").copy(interpretation="rgb16")
    (deep.bandjoin(0x4040) if alpha else deep).tiffsave(str(path), **options)
    picture = check_image(path, LIMITS)
    assert (picture.bit_depth, picture.alpha, picture.pages) == (16, alpha, 1)
    expected = [(*colour, 64) if alpha else colour for colour in QUARTERS]
    assert near(quarters_of(widest(path, tmp_path / "out")), expected)


def test_cmyk_tiff(tmp_path: Path) -> None:
    """A CMYK TIFF without a profile comes out in colours near its RGB source."""
    quarters().convert("CMYK").save(tmp_path / "x.tif")
    assert check_image(tmp_path / "x.tif", LIMITS).mode == "CMYK"
    assert near(quarters_of(widest(tmp_path / "x.tif", tmp_path / "out")), QUARTERS, 16)


@pytest.mark.parametrize("alpha", [False, True])
def test_wide_gamut_is_kept_beside_srgb(tmp_path: Path, alpha: bool) -> None:
    """A picture in Display P3 has an AVIF of its own numbers with its profile, beside renditions in sRGB."""
    colour, profile = (250, 20, 20, 128) if alpha else (250, 20, 20), display_p3()
    path = tmp_path / "x.png"
    Image.new("RGBA" if alpha else "RGB", (120, 80), colour).save(path, icc_profile=profile)
    assert quick_image(path, LIMITS).wide_gamut
    made = render_image(path, tmp_path, ImageParams(widths=(100,), wide_quality=95))
    (wide,) = [f for f in made.files if f.role == "wide"]
    assert (wide.media_type, wide.width, wide.height) == ("image/avif", 100, 67)
    kept = pyvips.Image.new_from_file(str(tmp_path / wide.name))
    assert near(kept(50, 30), colour)
    assert kept.get("icc-profile-data") == profile
    # by another engine, the wide picture's colour lies outside sRGB: its red is cut off there
    assert near(pyvips.Image.new_from_file(str(tmp_path / "w100.webp"))(50, 30)[0], 255, 2)


@pytest.mark.parametrize("primaries", [DISPLAY_P3, ADOBE_RGB, REC_2020], ids=["Display P3", "Adobe RGB", "Rec. 2020"])
@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp", "avif"])
def test_wide_gamuts_are_known(tmp_path: Path, kind: str, primaries: Any) -> None:
    """A profile of a wide gamut is known from the header, in every format that carries one."""
    path = tmp_path / f"x.{kind}"
    quarters().save(path, icc_profile=display_p3(primaries))
    assert quick_image(path, LIMITS).wide_gamut


def test_cmyk_with_a_profile(tmp_path: Path) -> None:
    """A CMYK picture is converted by its own profile: what another engine separated comes back."""
    path, colours = tmp_path / "x.tif", [(170, 70, 60), (70, 140, 80), (60, 80, 140), (200, 200, 200)]
    picture = Image.new("RGB", (120, 80))
    for place, colour in enumerate(colours):
        picture.paste(colour, (place % 2 * 60, place // 2 * 40, place % 2 * 60 + 60, place // 2 * 40 + 40))
    pyvips.Image.new_from_array(np.asarray(picture)).icc_transform("cmyk", input_profile="srgb").tiffsave(str(path))
    assert check_image(path, LIMITS).mode == "CMYK"
    found = quarters_of(widest(path, tmp_path / "out"))
    # the black points are matched on the way back alone
    assert near(found, colours, 20)
    # without the profile they would be other colours
    assert not near(found, np.asarray(Image.open(path).convert("RGB"))[[20, 20, 60, 60], [30, 90, 30, 90]], 40)


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_srgb_is_not_wide(tmp_path: Path, kind: str) -> None:
    """A picture in sRGB, with its profile or without one, has no wide rendition."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number, options in enumerate(({}, {"icc_profile": srgb})):
        path = tmp_path / f"{number}.{kind}"
        quarters().save(path, **options)  # type: ignore[arg-type]
        assert not quick_image(path, LIMITS).wide_gamut
        assert {f.role for f in render_image(path, tmp_path, ImageParams()).files} == {"rendition", "still"}


def test_a_gain_map_is_left_alone(tmp_path: Path) -> None:
    """Of a picture with a gain map, Google's or Apple's, the base is used, and it is said that there is one."""
    path = ultra_hdr(tmp_path / "x.jpg")
    picture = check_image(path, LIMITS)
    assert (picture.gain_map, picture.width, picture.height, picture.frames) == (True, 120, 80, 1)
    assert near(quarters_of(widest(path, tmp_path / "out")), QUARTERS, 16)
    apple_gain_map(tmp_path / "apple.jpg")
    assert check_image(tmp_path / "apple.jpg", LIMITS).gain_map
    quarters().save(tmp_path / "plain.jpg")
    ultra_hdr(tmp_path / "thumbnail.jpg", before=segment_with_scan())
    assert check_image(tmp_path / "thumbnail.jpg", LIMITS).gain_map
    quarters().save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=[quarters()])
    assert not check_image(tmp_path / "plain.jpg", LIMITS).gain_map
    assert not check_image(tmp_path / "two.jpg", LIMITS).gain_map
