"""Images: limits before decoding, damage with a code, and renditions that are upright, sRGB and clean."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from media_fixtures import BLUE, GREEN, RED, WHITE, corners, display_p3, heic, png_bomb, png_chunk, quarters
from PIL import ExifTags, Image, ImageFile

from operators.media.image import check_image, quick_image
from operators.media.rendition import RenderedImage, model_still, render_image, resized, sizes_of
from schemas.errors import AssetError
from schemas.pipelines import ImageParams, Limits

SAMPLES = Path(__file__).parent.parent / "samples"
LIMITS = Limits()
QUARTERS = [RED, GREEN, BLUE, WHITE]


def render(path: Path, out: Path, widths: tuple[int, ...] = (100, 50)) -> RenderedImage:
    """Everything of the picture, at high quality so that colours can be compared."""
    out.mkdir(exist_ok=True)
    return render_image(path, out, ImageParams(widths=widths, quality=95))


def near(found: Sequence[tuple[int, ...]], expected: Sequence[tuple[int, ...]], by: int = 10) -> bool:
    """Whether all channels differ by little, as lossy coding makes them."""
    return bool(np.abs(np.array(found) - np.array(expected)).max() <= by)


def widest(path: Path, out: Path) -> Image.Image:
    """The widest rendition, read back."""
    with Image.open(out / render(path, out).files[0].name) as picture:
        picture.load()
        return picture


def code_of(path: Path, limits: Limits = LIMITS, check: object = check_image) -> str:
    """The code under which the picture is refused."""
    with pytest.raises(AssetError) as raised:
        check(path, limits)  # type: ignore[operator]
    return raised.value.code


def test_bomb_is_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PNG of 50,000 x 50,000 pixels in a small file is refused from its header, whoever opens it."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bomb(50_000))
    assert path.stat().st_size < 4_000_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    for check in (quick_image, check_image, lambda p, _: render_image(p, tmp_path, ImageParams())):
        assert code_of(path, LIMITS, check) == "too_many_pixels"


def test_large_pictures_within_the_limit_pass(tmp_path: Path) -> None:
    """A picture that Pillow's own limit would refuse passes under a higher one."""
    path = tmp_path / "large.png"
    path.write_bytes(png_bomb(13_500))
    assert quick_image(path, LIMITS).width == 13_500
    assert code_of(path, Limits(pixels=10**8)) == "too_many_pixels"


def test_truncated_jpeg(tmp_path: Path) -> None:
    """A JPEG cut in half has a header that reads and a body that is truncated."""
    path = tmp_path / "cut.jpg"
    path.write_bytes((SAMPLES / "astronaut.jpg").read_bytes()[:40_000])
    assert quick_image(path, LIMITS).width == 512
    assert code_of(path) == "truncated"


def test_damaged_png(tmp_path: Path) -> None:
    """Damaged PNG data, and a file that only starts like one, have their codes."""
    data = bytearray((SAMPLES / "chelsea.png").read_bytes())
    data[100_000:100_400] = bytes(400)
    (tmp_path / "damaged.png").write_bytes(data)
    assert code_of(tmp_path / "damaged.png") in ("corrupt_image", "truncated")
    (tmp_path / "start.png").write_bytes(data[:10])
    assert code_of(tmp_path / "start.png", check=quick_image) in ("unreadable_header", "truncated")
    (tmp_path / "other.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert code_of(tmp_path / "other.png", check=quick_image) == "unreadable_header"


INVERSE = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    """A picture stored in any of the eight orientations comes out upright, described by its shown size."""
    turn = INVERSE[orientation]
    stored = quarters() if turn is None else quarters().transpose(turn)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"o.{kind}"
    stored.save(path, kind, exif=exif, quality=95)
    picture = check_image(path, LIMITS)
    assert (picture.width, picture.height, picture.orientation) == (120, 80, orientation)
    shown = widest(path, tmp_path / "out")
    assert shown.size == (100, 67)
    assert near(corners(shown), QUARTERS, 14)


def test_orientation_behind_the_pixels(tmp_path: Path) -> None:
    """A PNG whose EXIF stands after its pixels is upright too."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    path = tmp_path / "x.png"
    quarters().transpose(Image.Transpose.ROTATE_90).save(path)
    data, end = path.read_bytes(), png_chunk(b"IEND", b"")
    path.write_bytes(data.removesuffix(end) + png_chunk(b"eXIf", exif.tobytes()[6:]) + end)
    picture = check_image(path, LIMITS)
    assert (picture.width, picture.height, picture.orientation, picture.bit_depth) == (120, 80, 6, 8)
    assert near(corners(widest(path, tmp_path / "out")), QUARTERS)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "tiff", "bmp", "avif", "heic"])
def test_quick_gate_decodes_nothing(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick look reads sizes from headers alone, in every format."""
    path = tmp_path / "x"
    if kind == "heic":
        path.write_bytes(heic(quarters()))
    else:
        quarters().save(path, kind)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    assert (quick_image(path, LIMITS).width, quick_image(path, LIMITS).height) == (120, 80)


def test_heic_is_decoded_and_turned(tmp_path: Path) -> None:
    """A HEIC picture turned by its own property (irot) comes out turned, once."""
    path = tmp_path / "x.heic"
    path.write_bytes(heic(quarters(128, 96), quarter_turns=1))
    picture = check_image(path, LIMITS)
    assert (picture.format, picture.width, picture.height, picture.frames) == ("HEIF", 96, 128, 1)
    shown = widest(path, tmp_path / "out")
    assert shown.size == (96, 128)
    assert near(corners(shown), [GREEN, WHITE, RED, BLUE], 20)


def test_wide_gamut_becomes_srgb(tmp_path: Path) -> None:
    """A colour in Display P3 comes out as the same colour in sRGB, its profile named in the description."""
    wanted = np.array([200, 90, 60]) / 255
    linear = np.where(wanted <= 0.04045, wanted / 12.92, ((wanted + 0.055) / 1.055) ** 2.4)
    p3 = np.array([[0.8225, 0.1774, 0], [0.0332, 0.9669, 0], [0.0171, 0.0724, 0.9108]]) @ linear
    stored = np.round(255 * np.where(p3 <= 0.0031308, p3 * 12.92, 1.055 * p3 ** (1 / 2.4) - 0.055)).astype(int)
    assert np.abs(stored - [200, 90, 60]).max() > 10
    path = tmp_path / "p3.png"
    Image.new("RGB", (60, 60), tuple(stored.tolist())).save(path, icc_profile=display_p3())
    assert check_image(path, LIMITS).colour_profile == "Display P3 ok"
    assert near(corners(widest(path, tmp_path / "out"))[:1], [(200, 90, 60)], 4)


def test_wide_gamut_keeps_alpha(tmp_path: Path) -> None:
    """Colour conversion leaves alpha as it was."""
    path = tmp_path / "p3.png"
    Image.new("RGBA", (60, 60), (200, 90, 60, 77)).save(path, icc_profile=display_p3())
    shown = widest(path, tmp_path / "out")
    assert shown.mode == "RGBA"
    assert abs(shown.getpixel((30, 30))[3] - 77) <= 2  # type: ignore[index]


@pytest.mark.parametrize("profile", [b"not a profile", display_p3()[:300]])
def test_broken_profile_is_tolerated(tmp_path: Path, profile: bytes) -> None:
    """A picture with a broken colour profile is shown as sRGB."""
    path = tmp_path / "x.png"
    quarters().save(path, icc_profile=profile)
    assert check_image(path, LIMITS).colour_profile is None
    assert near(corners(widest(path, tmp_path / "out")), QUARTERS)


def test_profile_of_another_mode_is_tolerated(tmp_path: Path) -> None:
    """A grey picture with a profile for RGB is shown as grey, and has no wide gamut."""
    path = tmp_path / "x.jpg"
    Image.new("L", (60, 60), 120).save(path, icc_profile=display_p3())
    assert not check_image(path, LIMITS).wide_gamut
    assert near(corners(widest(path, tmp_path / "out")), [(120, 120, 120)] * 4, 4)


def test_cmyk_jpeg(tmp_path: Path) -> None:
    """A CMYK JPEG without a profile comes out in colours near its RGB source."""
    path = tmp_path / "x.jpg"
    quarters().convert("CMYK").save(path, quality=95)
    assert check_image(path, LIMITS).mode == "CMYK"
    assert near(corners(widest(path, tmp_path / "out")), QUARTERS, 16)


def test_sixteen_bits(tmp_path: Path) -> None:
    """16-bit grey keeps its brightness in 8 bits, and 16-bit colour is described as such."""
    path = tmp_path / "grey.png"
    Image.fromarray(np.full((60, 60), 0x4123, np.uint16)).save(path)
    assert check_image(path, LIMITS).bit_depth == 16
    assert near(corners(widest(path, tmp_path / "out")), [(0x41,) * 3] * 4, 2)
    header, rows = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0), b"\0" + struct.pack(">6H", *[0x8000] * 6)
    parts = [png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(rows * 2)), png_chunk(b"IEND", b"")]
    (tmp_path / "colour.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    assert check_image(tmp_path / "colour.png", LIMITS).bit_depth == 16


def test_alpha_and_palettes(tmp_path: Path) -> None:
    """Alpha of RGBA, grey and palettes with a transparent colour is kept; opaque palettes get none."""
    clear = quarters().convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 60, 40))
    clear.save(tmp_path / "rgba.png")
    clear.convert("LA").save(tmp_path / "la.png")
    clear.quantize(8).save(tmp_path / "p.png")
    for name in ("rgba", "la", "p"):
        path = tmp_path / f"{name}.png"
        assert check_image(path, LIMITS).alpha
        shown = widest(path, tmp_path / "out")
        assert [shown.getpixel(at)[3] for at in ((25, 15), (75, 50))] == [0, 255]  # type: ignore[index]
    quarters().quantize(8).save(tmp_path / "opaque.png")
    shown = widest(tmp_path / "opaque.png", tmp_path / "out")
    assert shown.mode == "RGB" and near(corners(shown), QUARTERS, 14)


def test_animation_shows_its_first_frame(tmp_path: Path) -> None:
    """An animated GIF has its frames counted and checked; its renditions show the first."""
    path = tmp_path / "x.gif"
    quarters().save(path, save_all=True, append_images=[Image.new("RGB", (120, 80), BLUE)] * 4, duration=100)
    picture = check_image(path, LIMITS)
    assert picture.frames in (2, 5)  # Pillow may merge equal frames
    assert quick_image(path, LIMITS).frames is None
    assert near(corners(widest(path, tmp_path / "out")), QUARTERS, 14)


def test_floating_point_tiff(tmp_path: Path) -> None:
    """A TIFF of 32-bit floats is shown by its own range."""
    path = tmp_path / "x.tiff"
    values = np.linspace(-3.0, 5.0, 80 * 60, dtype=np.float32).reshape(60, 80)
    Image.fromarray(values).save(path)
    assert check_image(path, LIMITS).bit_depth == 32
    shown = np.asarray(widest(path, tmp_path / "out").convert("L"))
    assert shown[0].mean() < 10 and shown[-1].mean() > 245


@pytest.mark.parametrize(
    ("size", "widths", "expected"),
    [
        ((4000, 3000), (1440, 720, 250), [(1440, 1080), (720, 540), (250, 188)]),
        ((600, 400), (1440, 720, 250), [(600, 400), (250, 167)]),
        ((100, 50), (1440, 720, 250), [(100, 50)]),
        ((1, 1), (250,), [(1, 1)]),
        ((5000, 2), (250,), [(250, 1)]),
        ((1000, 100_000), (1440, 250), [(163, 16_300)]),
        ((30_000, 30_000), (20_000,), [(16_383, 16_383)]),
    ],
)
def test_rendition_sizes(size: tuple[int, int], widths: tuple[int, ...], expected: list[tuple[int, int]]) -> None:
    """Renditions keep the aspect, are never larger than the source, never doubled, and fit WebP."""
    assert sizes_of(*size, widths) == expected


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK"])
def test_two_threads_make_the_same_pixels(mode: str) -> None:
    """A large picture reduced in two halves is that reduced in one piece, but for rounding, at the seam too."""
    noise = np.random.default_rng(1).integers(128, 255, (1001, 1203, 4), np.uint8)
    picture = Image.fromarray(noise, "RGBA").convert(mode)
    whole = picture.resize((857, 713), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(resized(picture, (857, 713)), int) - np.asarray(whole, int)).max() <= 2


def test_renditions_of_a_photo(tmp_path: Path) -> None:
    """A photo's renditions have their widths and names, look like it, and the bytes that are stated."""
    made = render_image(SAMPLES / "astronaut.jpg", tmp_path, ImageParams(widths=(400, 200)))
    assert [(f.name, f.role, f.width, f.height) for f in made.files[:2]] == [
        ("w400.webp", "rendition", 400, 400),
        ("w200.webp", "rendition", 200, 200),
    ]
    assert all((tmp_path / f.name).stat().st_size == f.bytes for f in made.files)
    with Image.open(SAMPLES / "astronaut.jpg") as source, Image.open(tmp_path / "w400.webp") as found:
        difference = np.asarray(source.resize((400, 400)), float) - np.asarray(found, float)
    assert 10 * np.log10(255**2 / (difference**2).mean()) > 28


def test_only_what_is_wanted_is_made(tmp_path: Path) -> None:
    """Without renditions wanted there is no file of them."""
    made = render_image(SAMPLES / "rocket.jpg", tmp_path, ImageParams(), {"thumbhash"})
    assert made.files == () and made.thumbhash
    assert list(tmp_path.iterdir()) == []


def test_model_still_is_the_middle(tmp_path: Path) -> None:
    """The still for models is the middle 224 of a short side of 256, and transparent parts are white."""
    picture = Image.new("RGB", (512, 256), RED)
    picture.paste(BLUE, (144, 16, 368, 240))
    assert set(model_still(picture).resize((16, 16), Image.Resampling.NEAREST).get_flattened_data()) == {BLUE}
    assert model_still(Image.new("RGBA", (300, 300), (0, 0, 0, 0))).getpixel((9, 9)) == (255, 255, 255)
    still = render(SAMPLES / "chelsea.png", tmp_path).files[-1]
    assert (still.role, still.media_type, still.width, still.height) == ("still", "image/jpeg", 224, 224)
