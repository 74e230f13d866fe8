"""Pictures through the real command: what each format ends in, as other programs read it, and that nothing leaks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pylibjxl
import pytest
from browser import chromium  # noqa: F401  (a fixture)
from flow_runs import Place
from media_fixtures import display_p3, heic, quarters
from picture_factory import SHAPES, SVG, animated, dng, listed, located, paged_tiff, ultra_hdr, xmp
from PIL import Image

from schemas.manifest import Manifest
from schemas.technical import Picture

RENDITION = {"rendition-120"}
# the file: what is published of it beside its widest rendition, by name
MADE = {
    "a.jxl": RENDITION, "a.dng": {"rendition-128"}, "a.heic": {"rendition-128"}, "ultra.jpg": RENDITION,
    "a.svg": {"rendition-1440", "rendition-720", "rendition-250"},
    "text.svg": {"rendition-1440", "rendition-720", "rendition-250"},
    "pages.tif": {*RENDITION, "page-0001", "page-0002", "page-0003"},
    "a.gif": {*RENDITION, "clip", "poster"}, "a.webp": {*RENDITION, "clip", "poster"},
    "wide.jpg": {"rendition-300", "rendition-250", "wide"}, "harbour.jpg": {"rendition-300", "rendition-250"},
}  # fmt: skip
BAD = {
    "script.svg": ("<script/>", "svg_script"),
    "external.svg": ('<image href="file:///etc/hostname"/>', "svg_external"),
    "deep.svg": ("<g>" * 3000 + "</g>" * 3000, "corrupt_image"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One run over a picture of each kind, one of them with an XMP file beside it, and over unfit ones."""
    folder = tmp_path_factory.mktemp("images")
    inbox = folder / "in"
    inbox.mkdir()
    (inbox / "a.jxl").write_bytes(pylibjxl.encode(np.asarray(quarters())))
    (inbox / "a.dng").write_bytes(dng(quarters(128, 96)))
    (inbox / "a.heic").write_bytes(heic(quarters(128, 96)))
    (inbox / "a.svg").write_text(f'{SVG}width="120" height="80">{SHAPES}</svg>')
    words_ = '<text x="2" y="60" font-size="50" font-family="Nowhere Sans">HHH</text></svg>'
    (inbox / "text.svg").write_text(f'{SVG}width="120" height="80"><rect width="120" height="80" fill="#fff"/>{words_}')
    paged_tiff(inbox / "pages.tif")
    animated(inbox / "a.gif", [100, 200, 300], loop=2)
    animated(inbox / "a.webp", [100, 200])
    ultra_hdr(inbox / "ultra.jpg")
    located(inbox / "wide.jpg", icc=display_p3())
    located(inbox / "harbour.jpg")
    words = listed("dc:title", "Alt", "x-default:Dusk") + listed("dc:subject", "Bag", "sea", "boat")
    (inbox / "harbour.xmp").write_bytes(xmp(inside=words))
    (inbox / "wide.jpg.xmp").write_bytes(b"no XMP")
    for name, (inside, _) in BAD.items():
        (inbox / name).write_text(f"{SVG}>{inside}</svg>")
    pipelines = folder / "pipelines.toml"
    pipelines.write_text('[default]\nprofile = "none"\n')
    place = Place(folder / "out", {"ASSET_PIPELINE_PIPELINES_FILE": str(pipelines)})
    place.ended = place.run(inbox, code=3)  # type: ignore[attr-defined]
    return place


def manifest(place: Place, name: str) -> Manifest:
    """The manifest of the asset of this name."""
    return next(m for m in place.manifests() if m.record.request.source.name == name)


def picture_of(place: Place, name: str) -> Picture:
    """An asset's technical metadata as a picture."""
    found = manifest(place, name).technical.image
    assert found is not None
    return found


def bundle(place: Place, name: str) -> Path:
    """The folder in which an asset is published."""
    return place.out / "published" / "default" / manifest(place, name).asset_id / "v1"


@pytest.mark.parametrize("name", MADE)
def test_what_is_published_of_each_format(place: Place, name: str) -> None:
    """Every format ends in its renditions, and in pages, a clip or a wide rendition where it has more to show."""
    assert {path.stem for path in bundle(place, name).iterdir()} == MADE[name] | {"manifest"}


def test_words_in_a_drawing_are_drawn(place: Place) -> None:
    """Text is there where its font is not installed, behind the sandbox, too."""
    with Image.open(bundle(place, "text.svg") / "rendition-250.webp") as picture:
        dark = np.asarray(picture.convert("L")) < 128
    assert 0.05 < dark.mean() < 0.5


@pytest.mark.parametrize("name", BAD)
def test_unfit_pictures_have_their_code(place: Place, name: str) -> None:
    """What an SVG may not have ends the asset with a code that says so."""
    row: dict[str, Any] = place.ended[name]  # type: ignore[attr-defined]
    assert (row["state"], row["code"]) == ("failed", BAD[name][1])


def test_what_is_known_of_a_picture(place: Place) -> None:
    """The technical metadata tells animations, pages, wide gamuts and gain maps, and the step how often to loop."""
    assert [picture_of(place, name).animated for name in ("a.gif", "a.webp", "a.jxl")] == [True, True, False]
    assert (picture_of(place, "pages.tif").pages, picture_of(place, "ultra.jpg").gain_map) == (3, True)
    assert [picture_of(place, name).wide_gamut for name in ("wide.jpg", "harbour.jpg")] == [True, False]
    clip = next(step for step in manifest(place, "a.gif").steps if step.step == "clip")
    assert clip.values == {"frames": 3, "duration": 0.6, "loops": 3}


def test_words_beside_a_picture_are_its_own(place: Place) -> None:
    """An XMP file's title and keywords become the asset's; what it does not say the picture does."""
    found = manifest(place, "harbour.jpg")
    assert (found.metadata.title, found.metadata.tags) == ("Dusk", ("sea", "boat"))
    assert found.metadata.description == "A harbour"
    words = next(step for step in found.steps if step.step == "integrity").values["words"]
    assert abs(words["latitude"] - 52.52) < 1e-4 and words["camera"] == "Example Camera 1"


def test_damaged_words_beside_a_picture_are_left_out(place: Place) -> None:
    """An XMP file that is none costs the asset nothing, and the step says so."""
    found = manifest(place, "wide.jpg")
    assert next(step for step in found.steps if step.step == "sidecar").code == "corrupt_sidecar"
    assert found.metadata.description == "A harbour"


@pytest.mark.tool("exiftool")
def test_no_rendition_says_where_or_who(place: Place) -> None:
    """No file of any bundle has EXIF, XMP, IPTC or a position, by exiftool's reading; the originals are untouched."""
    command = ["exiftool", "-json", "-a", "-G1", "-r", str(place.out / "published")]
    files = json.loads(subprocess.run(command, capture_output=True, text=True).stdout)
    assert len(files) >= sum(len(names) for names in MADE.values())
    for file in files:
        groups = {key.partition(":")[0] for key in file}
        assert not groups & {"IFD0", "ExifIFD", "GPS", "IPTC", "Photoshop"}, file["SourceFile"]
        assert not [group for group in groups if group.startswith("XMP")], file["SourceFile"]
        assert not [value for value in file.values() if "Ann Own" in str(value) or "52 deg" in str(value)]
    profiles = {file.get("ICC_Profile:ProfileDescription") for file in files if "wide.avif" in file["SourceFile"]}
    assert profiles == {"Display P3 ok"}
    original = manifest(place, "harbour.jpg").original.sha256
    (kept,) = place.files(f"store/objects/*/*/{original}")
    assert "52 deg" in subprocess.run(["exiftool", "-GPSPosition", str(kept)], capture_output=True, text=True).stdout


PAGE = """async urls => {
    const sizes = {};
    for (const url of urls) {
        const image = new Image();
        image.src = url;
        await image.decode();
        sizes[url] = [image.naturalWidth, image.naturalHeight];
    }
    return sizes;
}"""
PLAYS = """async url => {
    const video = document.createElement("video");
    video.muted = true;
    video.src = url;
    await video.play();
    await new Promise(ended => { video.onended = ended; });
    return [video.videoWidth, video.videoHeight, video.duration];
}"""


@pytest.mark.tool("chromium")
def test_a_browser_shows_all_of_it(place: Place, chromium: Any) -> None:  # noqa: F811
    """Chromium decodes each bundle's WebP, AVIF and JPEG in the size that the manifest names, and plays a clip."""
    page, expected = chromium.new_page(), {}
    (place.out / "page.html").write_text("<!doctype html>")
    page.goto((place.out / "page.html").as_uri())
    for name in MADE:
        files = {path.stem: path.as_uri() for path in bundle(place, name).iterdir()}
        for variant in manifest(place, name).variants:
            if variant.name in files and variant.media_type.startswith("image/"):
                expected[files[variant.name]] = [variant.properties["width"], variant.properties["height"]]
    assert page.evaluate(PAGE, list(expected)) == expected
    assert {url.rpartition(".")[2] for url in expected} >= {"webp", "avif"}
    width, height, seconds = page.evaluate(PLAYS, (bundle(place, "a.gif") / "clip.mp4").as_uri())
    assert (width, height) == (120, 80) and abs(seconds - 0.6) < 0.01
