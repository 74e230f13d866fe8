"""Templates and effects: what they are, how they look, and what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import document_factory as zips
import numpy as np
import pytest
import template_factory as made
from PIL import Image

from operators.media import fonts, lottie, lut, templates
from operators.media.content_type import detect, sample_of
from operators.media.types import CUBE, DOTLOTTIE, LOTTIE, TEMPLATE, as_named, check_declared, is_media_name
from schemas.errors import AssetError
from schemas.pipelines import Limits, TemplateParams

LIMITS, PARAMS = Limits(), TemplateParams()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One template of each format."""
    folder = tmp_path_factory.mktemp("templates")
    (folder / "a.json").write_text(json.dumps(made.lottie()))
    made.dotlottie(folder / "a.lottie")
    (folder / "a.cube").write_text(made.cube(9, made.inverted))
    made.template(folder / "a.template.zip", made.files(folder))
    return folder


TYPES = [("a.json", LOTTIE, "application/json"), ("a.lottie", DOTLOTTIE, "application/zip"),
         ("a.cube", CUBE, "text/plain"), ("a.template.zip", TEMPLATE, "application/zip")]  # fmt: skip


@pytest.mark.parametrize(("name", "media_type", "declared"), TYPES, ids=[name for name, *_ in TYPES])
def test_formats_are_told_by_content(folder: Path, tmp_path: Path, name: str, media_type: str, declared: str) -> None:
    """A template is told by its bytes; its own name and the general type of its container are no contradiction."""
    (tmp_path / "nameless").write_bytes((folder / name).read_bytes())
    found = detect(sample_of(tmp_path / "nameless"))
    assert (found.media_type, found.kind) == (media_type, "template")
    check_declared(as_named(found, declared, name), declared, name)
    with pytest.raises(AssetError, match="type_mismatch"):
        check_declared(found, None, "a.png")
    assert is_media_name(name) == (name != "a.json")


def test_other_json_and_zips_are_no_templates(tmp_path: Path) -> None:
    """JSON and archives of other things stay unsupported."""
    (tmp_path / "a").write_text(json.dumps({"fr": 1, "w": 2, "layers": []}))
    assert detect(sample_of(tmp_path / "a")).kind is None
    zips.zipped(tmp_path / "b", {"x/template.json": "{}", "manifest.json": "{}", "notes.txt": "template.json"})
    assert detect(sample_of(tmp_path / "b")).kind is None


def shown(clip: Path, at: float, size: tuple[int, int]) -> np.ndarray:
    """The clip's picture at a time, decoded by the ffmpeg program."""
    command = ["ffmpeg", "-v", "error", "-ss", str(at), "-i", clip, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt",
               "rgb24", "-"]  # fmt: skip
    data = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(data, np.uint8).reshape(size[1], size[0], 3)


def probed(clip: Path) -> dict[str, Any]:
    """What ffprobe says of the clip's only stream."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", clip]
    (stream,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["streams"]
    found: dict[str, Any] = stream
    return found


def middle_of_red(picture: np.ndarray) -> float:
    """The mean column of the red pixels."""
    red = (picture[..., 0] > 180) & (picture[..., 1] < 80) & (picture[..., 2] < 80)
    return float(np.nonzero(red)[1].mean())


@pytest.mark.tool("ffprobe")
@pytest.mark.parametrize(("name", "media_type"), [("a.json", LOTTIE), ("a.lottie", DOTLOTTIE)])
def test_animation_is_drawn(folder: Path, tmp_path: Path, name: str, media_type: str) -> None:
    """The clip has the animation's frames, rate and size; the square is where its curve puts it, on white."""
    made_ = templates.render_template(folder / name, tmp_path, media_type, PARAMS, LIMITS)
    assert [f.role for f in made_.files] == ["poster", "preview"] and made_.thumbhash
    stream = probed(tmp_path / "clip.mp4")
    assert (stream["codec_name"], stream["pix_fmt"], stream["color_space"]) == ("h264", "yuv420p", "bt709")
    assert (stream["width"], stream["height"], stream["r_frame_rate"]) == (200, 100, "30/1")
    assert (int(stream["nb_read_frames"]), float(stream["duration"])) == (60, 2.0)
    for at, middle in ((0.0, 49.5), (1.0, 99.5), (1.9, 144.5)):
        assert abs(middle_of_red(shown(tmp_path / "clip.mp4", at, (200, 100))) - middle) < 1.5
    with Image.open(tmp_path / "poster.webp") as poster:
        pixels = np.asarray(poster.convert("RGB"))
    assert abs(middle_of_red(pixels) - 99.5) < 1.5 and pixels[95, 190].min() > 245
    corner = pixels[10, 10].astype(int)
    assert np.abs(corner - (made.BLUE if media_type == DOTLOTTIE else (255, 255, 255))).max() < 20
    found = templates.quick_template(folder / name, media_type, LIMITS)
    assert (found.name, found.width, found.height, found.frames, found.duration) == ("Moving square", 200, 100, 60, 2.0)
    assert templates.check_template(folder / name, media_type, LIMITS) == 60


@pytest.mark.parametrize("fonts_", [fonts.SANS, ()], ids=["fonts of the system", "no fonts"])
def test_words_are_drawn_where_their_font_is_not_there(
    fonts_: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text layer shows its letters in the poster, twice as many of them twice the ink."""
    monkeypatch.setattr(lottie, "SANS", fonts_)
    ink = []
    for word in ("H", "HH"):
        (tmp_path / "a").write_text(json.dumps(made.written(word, "Nowhere-Regular")))
        templates.render_template(tmp_path / "a", tmp_path, LOTTIE, TemplateParams(clip_s=0.1), LIMITS)
        with Image.open(tmp_path / "poster.webp") as poster:
            ink.append(int((np.asarray(poster.convert("L")) < 100).sum()))
    assert ink[0] > 200 and ink[1] == pytest.approx(2 * ink[0], rel=0.1)


@pytest.mark.tool("ffprobe")
def test_long_and_large_animations_are_bounded(tmp_path: Path) -> None:
    """A demo clip is no longer, faster or higher than its parameters allow."""
    animation = made.lottie() | {"w": 2000, "h": 1000, "fr": 60, "op": 600}
    (tmp_path / "a").write_text(json.dumps(animation))
    params = TemplateParams(clip_s=1.0, height=90, most_rate=25)
    templates.render_template(tmp_path / "a", tmp_path, LOTTIE, params, LIMITS)
    stream = probed(tmp_path / "clip.mp4")
    assert (stream["width"], stream["height"], stream["r_frame_rate"]) == (180, 90, "25/1")
    assert int(stream["nb_read_frames"]) == 25


def test_dotlottie_of_the_second_version(tmp_path: Path) -> None:
    """Version 2 keeps animations and pictures in other folders."""
    path = made.dotlottie(tmp_path / "a", "a")
    assert templates.quick_template(path, DOTLOTTIE, LIMITS).format == "dotlottie"
    templates.render_template(path, tmp_path, DOTLOTTIE, TemplateParams(clip_s=0.1), LIMITS)
    with Image.open(tmp_path / "poster.webp") as poster:
        assert poster.convert("RGB").getpixel((10, 10))[2] > 200  # type: ignore[index]


def code_of(path: Path, media_type: str, check: Any = templates.quick_template, limits: Limits = LIMITS) -> str:
    """The code and detail under which a template is refused."""
    with pytest.raises(AssetError) as raised:
        check(path, media_type, limits)
    assert str(path) not in str(raised.value)
    return f"{raised.value.code}: {raised.value.detail}"


SCRIPT = {"a": 0, "k": [0, 0], "x": "var $bm_rt = time;"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"fr": 0}, "corrupt_template"), ({"fr": 1e9}, "corrupt_template"), ({"op": -1}, "corrupt_template"),
     ({"w": "x"}, "corrupt_template: its 'w'"), ({"layers": None}, "corrupt_template: it has no layers"),
     ({"w": 50_000, "h": 50_000}, "too_many_pixels"), ({"op": 30 * 601}, "too_long"), ({"h": True}, "corrupt_template"),
     ({"layers": [{}] * 10_001}, "corrupt_template: more than"),
     ({"layers": [{"ks": {"p": SCRIPT}}]}, "unsafe_template"),
     ({"fonts": {"list": [{"fPath": "http://127.0.0.1/x.ttf"}]}}, "unsafe_template: it loads the font"),
     ({"assets": [{"id": "i", "u": "http://127.0.0.1/", "p": "a.png"}]}, "unsafe_template: it loads 'a.png'")],
)  # fmt: skip
def test_bad_animations(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    """An animation out of all bounds is refused, and so is one that runs scripts or loads files from elsewhere."""
    (tmp_path / "a").write_text(json.dumps(made.lottie() | changes))
    assert code_of(tmp_path / "a", LOTTIE).startswith(code)


def test_damaged_animations(tmp_path: Path) -> None:
    """Broken JSON, a root of another sort, nesting without end, and archives with nothing to show have their code."""
    whole = json.dumps(made.lottie())
    for text in (whole[:-20], "[]", "[" * 100_000, '{"w": NaN}'):
        (tmp_path / "a").write_text(text)
        assert code_of(tmp_path / "a", LOTTIE).startswith("corrupt_template")
    zips.zipped(tmp_path / "b", {"manifest.json": "{}", "animations/first.json": whole})
    assert code_of(tmp_path / "b", DOTLOTTIE).startswith("corrupt_template: its manifest")
    outside = {"manifest.json": '{"animations": [{"id": "x"}]}', "a/x.json": json.dumps(made.with_picture("gone.png"))}
    assert code_of(zips.zipped(tmp_path / "c", outside), DOTLOTTIE).startswith("unsafe_template")
    bomb = {"manifest.json": '{"animations": [{"id": "x"}]}', "a/x.json": b" " * (17 * 2**20)}
    assert code_of(zips.zipped(tmp_path / "d", bomb), DOTLOTTIE).startswith("unpacks_too_large")
    data = made.dotlottie(tmp_path / "e").read_bytes()
    (tmp_path / "f").write_bytes(data[: len(data) // 2])
    assert code_of(tmp_path / "f", DOTLOTTIE).startswith("truncated")


def test_look_up_table_is_applied(tmp_path: Path) -> None:
    """An inverting table gives the negative, an identity the same picture, a 1D table its curve, within a level."""
    before = lut.reference()
    for text, expected in (
        (made.cube(17, made.inverted), 255 - before.astype(float)),
        (made.cube(2, list), before.astype(float)),
        (made.cube(256, lambda p: [v**2 for v in p], 1), 255 * (before / 255) ** 2),
        (made.cube(5, list, 3, "DOMAIN_MAX 2 2 2"), before.astype(float) / 2),
    ):
        (tmp_path / "a.cube").write_text(text)
        after = lut.applied(lut.read_cube(tmp_path / "a.cube"), before, tmp_path)
        assert np.abs(after - expected).max() <= 1.0


@pytest.mark.tool("ffprobe")
def test_look_up_table_agrees_with_ffmpeg(tmp_path: Path) -> None:
    """Another table's picture is the one that the ffmpeg program makes with the same file."""
    (tmp_path / "look.cube").write_text(made.cube(8, lambda p: [p[0] ** 0.6, p[2] * 0.8, (p[1] + p[0]) / 2]))
    Image.fromarray(lut.reference()).save(tmp_path / "before.png")
    command = ["ffmpeg", "-v", "error", "-i", "before.png", "-vf",
               "format=gbrp16le,lut3d=look.cube:interp=tetrahedral,format=rgb24", "after.png"]  # fmt: skip
    subprocess.run(command, check=True, cwd=tmp_path)
    after = lut.applied(lut.read_cube(tmp_path / "look.cube"), lut.reference(), tmp_path)
    with Image.open(tmp_path / "after.png") as theirs:
        assert np.abs(after.astype(int) - np.asarray(theirs).astype(int)).max() <= 1


@pytest.mark.tool("ffprobe")
def test_look_up_table_is_shown_before_and_after(folder: Path, tmp_path: Path) -> None:
    """The poster's left half is the picture before, its right half after; the clip wipes from one to the other."""
    templates.render_template(folder / "a.cube", tmp_path, CUBE, PARAMS, LIMITS)
    before = lut.reference().astype(int)
    with Image.open(tmp_path / "poster.webp") as poster:
        pixels = np.asarray(poster.convert("RGB")).astype(int)
    grey = slice(310, 350)
    assert np.abs(pixels[grey, 20:300] - before[grey, 20:300]).mean() < 6
    assert np.abs(pixels[grey, 340:620] - (255 - before[grey, 340:620])).mean() < 6
    stream = probed(tmp_path / "clip.mp4")
    assert (int(stream["nb_read_frames"]), stream["width"], stream["height"]) == (100, 640, 360)
    first, last = (shown(tmp_path / "clip.mp4", at, (640, 360)).astype(int) for at in (0.0, 2.0))
    assert np.abs(first[grey, :600] - before[grey, :600]).mean() < 6
    assert np.abs(last[grey, 40:] - (255 - before[grey, 40:])).mean() < 6
    found = templates.quick_template(folder / "a.cube", CUBE, LIMITS)
    assert (found.format, found.name, found.dimensions, found.lut) == ("cube", "Known look", 3, 9)


GOOD = made.cube(2, list)


@pytest.mark.parametrize(
    ("text", "detail"),
    [(GOOD.replace("LUT_3D_SIZE 2", "LUT_3D_SIZE 3"), "8 rows, where a size of 3 has 27"),
     (GOOD.replace("LUT_3D_SIZE 2", "LUT_3D_SIZE 257"), "its size '257'"),
     (GOOD.replace("LUT_3D_SIZE 2", ""), "its size"),
     (GOOD.replace("1.000000\n", "x\n"), "line 9"), (GOOD.replace("1.000000\n", "\n"), "line 9"),
     (GOOD.replace("1.000000\n", "1e999\n"), "line 9"), (GOOD + "nan 0 0\n", "line 13"), (GOOD + "0 0 0\n", "9 rows"),
     (GOOD + "LUT_3D_SIZE 2\n", "line 13"), (GOOD.replace("#", "DOMAIN_MIN 2 2 2\n#"), "its domain is empty"),
     (GOOD.replace("#", "DOMAIN_MIN 2\n#"), "its domain"), ("LUT_1D_SIZE 2\n" + GOOD, "its size not once"),
     (GOOD + "0 " * 200, "line 13: more than"), ("<html>\n" + GOOD, "line 1: '<html>'")],
)  # fmt: skip
def test_bad_tables(tmp_path: Path, text: str, detail: str) -> None:
    """A table that does not follow the form is refused with the place."""
    (tmp_path / "a").write_text(text)
    assert detail in code_of(tmp_path / "a", CUBE, templates.check_template)


@pytest.mark.tool("ffprobe")
def test_manifest_template_shows_its_own_previews(folder: Path, tmp_path: Path) -> None:
    """Picture and clip that a template carries become its poster and clip, made anew; its fields are told."""
    made_ = templates.render_template(folder / "a.template.zip", tmp_path, TEMPLATE, PARAMS, LIMITS)
    assert [(f.role, f.width, f.height) for f in made_.files] == [("poster", 640, 360), ("preview", 320, 180)]
    stream = probed(tmp_path / "clip.mp4")
    assert (int(stream["nb_read_frames"]), stream["r_frame_rate"]) == (72, "24/1")
    with Image.open(tmp_path / "poster.webp") as poster:
        assert np.abs(np.subtract(poster.convert("RGB").getpixel((300, 200)), made.BLUE)).max() < 8
    found = templates.quick_template(folder / "a.template.zip", TEMPLATE, LIMITS)
    assert (found.name, found.kind, found.engine, found.version) == ("Lower third", "title", "Blender", "4.2")
    assert found.parameters == ("headline",) and found.keywords == ("title", "name")
    assert templates.check_template(folder / "a.template.zip", TEMPLATE, LIMITS) == 3


def test_manifest_template_without_a_clip(tmp_path: Path) -> None:
    """A template that carries a picture alone has no clip."""
    path = made.template(tmp_path / "a", {"p.png": made.png()}, preview={"picture": "p.png"})
    assert [f.role for f in templates.render_template(path, tmp_path, TEMPLATE, PARAMS, LIMITS).files] == ["poster"]


FILES = {"p.png": made.png()}


@pytest.mark.parametrize(
    ("changes", "detail"),
    [({"format": "asset-pipeline/template/2"}, "format"), ({"name": ""}, "name"), ({"surplus": 1}, "surplus"),
     ({"preview": {"picture": "gone.png"}}, "previews that are not among its files"), ({"files": []}, "files"),
     ({"files": [{"path": "../p.png", "sha256": "0" * 64}]}, "files.0.path")],
)  # fmt: skip
def test_bad_manifests(tmp_path: Path, changes: dict[str, Any], detail: str) -> None:
    """A manifest that does not follow its schema is refused with the field."""
    path = made.template(tmp_path / "a", FILES, **({"preview": {"picture": "p.png"}} | changes))
    found = code_of(path, TEMPLATE)
    assert found.startswith("corrupt_template: template.json: ") and detail in found


def test_files_that_are_not_as_listed(tmp_path: Path) -> None:
    """A file that is missing, not listed, or other than its digest is refused."""
    parts: dict[str, bytes | str] = {"template.json": made.manifest(FILES, preview={"picture": "p.png"})}
    assert "'p.png' is missing" in code_of(zips.zipped(tmp_path / "a", parts), TEMPLATE)
    more = parts | FILES | {"run.sh": b"x"}
    assert "'run.sh' is not listed" in code_of(zips.zipped(tmp_path / "b", more), TEMPLATE)
    other = zips.zipped(tmp_path / "c", parts | {"p.png": made.png(made.RED)})
    assert "not what its digest says" in code_of(other, TEMPLATE, templates.check_template)


def test_previews_are_looked_at(tmp_path: Path) -> None:
    """A preview that is no picture, or no video, fails with the code of its kind."""
    bad = {"p.png": b"no picture", "c.mp4": b"no video" * 100}
    path = made.template(tmp_path / "a", bad, preview={"picture": "p.png"})
    with pytest.raises(AssetError, match="unreadable_header"):
        templates.render_template(path, tmp_path, TEMPLATE, PARAMS, LIMITS)
    preview = {"picture": "p.png", "clip": "c.mp4"}
    path = made.template(tmp_path / "b", bad | {"p.png": made.png()}, preview=preview)
    with pytest.raises(AssetError, match=r"unreadable_header|corrupt_media|no_media_stream"):
        templates.render_template(path, tmp_path, TEMPLATE, PARAMS, LIMITS)
