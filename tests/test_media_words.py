"""What a picture says of itself: one vocabulary for EXIF, XMP, IPTC and a sidecar, in a fixed order."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from media_fixtures import quarters
from picture_factory import listed, located, xmp
from PIL import Image

from operators.media.image import check_image
from operators.media.words import Words, merged, read_sidecar, words_of
from schemas.errors import AssetError
from schemas.pipelines import Limits


def of_file(path: Path) -> Words:
    """The words of a picture file."""
    found = check_image(path, Limits())
    return words_of(found.exif, found.xmp, found.iptc)


@pytest.mark.tool("exiftool")
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "avif"])
def test_what_exiftool_writes_is_read(tmp_path: Path, kind: str) -> None:
    """Tags written by another program into each format are found under the names of the one vocabulary."""
    path = tmp_path / f"x.{kind}"
    quarters().save(path)
    written = {
        "XMP-dc:Title": "Harbour", "XMP-dc:Description": "Boats at dusk", "XMP-dc:Creator": "Ann Example",
        "XMP-dc:Subject": "sea", "XMP-dc:Rights": "CC0", "EXIF:Make": "Example", "EXIF:Model": "Example One",
        "EXIF:LensModel": "50mm f/2", "EXIF:DateTimeOriginal": "2024:05:06 07:08:09",
        "EXIF:OffsetTimeOriginal": "+02:00", "EXIF:GPSLatitude": "33.8568", "EXIF:GPSLatitudeRef": "S",
        "EXIF:GPSLongitude": "151.2153", "EXIF:GPSLongitudeRef": "E", "EXIF:GPSAltitude": "12.5",
    }  # fmt: skip
    arguments = [f"-{tag}={value}" for tag, value in written.items()]
    subprocess.run(["exiftool", "-q", *arguments, "-XMP-dc:Subject=boat", str(path)], check=True)
    found = of_file(path)
    assert abs((found.latitude or 0) + 33.8568) < 1e-4 and abs((found.longitude or 0) - 151.2153) < 1e-4
    assert asdict(found) | {"latitude": 0, "longitude": 0} == {
        "title": "Harbour", "description": "Boats at dusk", "creators": ("Ann Example",), "keywords": ("sea", "boat"),
        "copyright": "CC0", "created": "2024-05-06T07:08:09+02:00", "camera": "Example One", "lens": "50mm f/2",
        "latitude": 0, "longitude": 0, "altitude_m": 12.5,
    }  # fmt: skip


@pytest.mark.tool("exiftool")
def test_iptc_is_read(tmp_path: Path) -> None:
    """IPTC's fields are found where XMP has none, its date and time as one."""
    path = tmp_path / "x.jpg"
    quarters().save(path)
    written = {
        "ObjectName": "Hafen", "Caption-Abstract": "Boote", "By-line": "Bo", "Keywords": "See", "CopyrightNotice": "Bo",
        "DateCreated": "2024:05:06", "TimeCreated": "07:08:09+02:00",
    }  # fmt: skip
    subprocess.run(["exiftool", "-q", *[f"-IPTC:{tag}={text}" for tag, text in written.items()], str(path)], check=True)
    assert of_file(path) == Words("Hafen", "Boote", ("Bo",), ("See",), "Bo", "2024-05-06T07:08:09+02:00")


def blocks(data: bytes) -> Any:
    """XMP as it is read from a picture."""
    picture = Image.new("L", (1, 1))
    picture.info["xmp"] = data
    return picture.getxmp()


def test_words_stand_in_order() -> None:
    """Of texts XMP's come before IPTC's before EXIF's; of what was measured EXIF's come first."""
    said = blocks(xmp('tiff:Make="By XMP"', inside=listed("dc:title", "Alt", "de:Hafen", "x-default:Harbour")))
    iptc = {"title": "by IPTC", "caption": "by IPTC"}
    exif = {"ImageDescription": "by EXIF", "Artist": "by EXIF", "Make": "By EXIF", "Model": "One"}
    found = words_of(exif, said, iptc)
    assert (found.title, found.description, found.creators) == ("Harbour", "by IPTC", ("by EXIF",))
    assert found.camera == "By EXIF One"


def test_positions_in_xmp() -> None:
    """XMP's degrees are read with decimal minutes and with seconds, south and west as negative; nonsense is none."""
    for latitude, longitude, expected in (
        ("52,31.2N", "13,24.0W", (52.52, -13.4)),
        ("33,51,24S", "151,12,54E", (-33.8566667, 151.215)),
        ("999,0N", "13,24.0E", (None, None)),
        ("north", "13,24.0E", (None, None)),
    ):
        found = words_of({}, blocks(xmp(f'exif:GPSLatitude="{latitude}" exif:GPSLongitude="{longitude}"')), {})
        assert (found.latitude, found.longitude) == expected


def test_a_sidecar_stands_before_the_picture(tmp_path: Path) -> None:
    """What the sidecar says replaces the picture's own, field by field; a position is taken whole."""
    path = tmp_path / "x.xmp"
    lists = listed("dc:title", "Alt", "x-default:Newer") + listed("dc:subject", "Bag", "a", "b")
    path.write_bytes(xmp('exif:GPSLatitude="10,0N" exif:GPSLongitude="20,0E"', inside=lists))
    own = Words(title="Own", description="Own", keywords=("own",), latitude=1.0, longitude=2.0, altitude_m=3.0)
    assert merged(own, read_sidecar(path)) == Words(
        title="Newer", description="Own", keywords=("a", "b"), latitude=10.0, longitude=20.0
    )
    assert merged(own, Words()) == own


@pytest.mark.parametrize(
    "data", [b"no XML", b'<!DOCTYPE x [<!ENTITY a "b">]><x:xmpmeta xmlns:x="adobe:ns:meta/">&a;</x:xmpmeta>', b""]
)
def test_a_damaged_sidecar_has_a_code(tmp_path: Path, data: bytes) -> None:
    """A sidecar that is no XMP, or that expands entities, is refused."""
    (tmp_path / "x.xmp").write_bytes(data)
    with pytest.raises(AssetError) as raised:
        read_sidecar(tmp_path / "x.xmp")
    assert raised.value.code == "corrupt_sidecar"


@pytest.mark.parametrize("nonsense", [{"RDF": "x"}, {"xmpmeta": ["x"]}, {"xmpmeta": {"RDF": {"Description": "x"}}}])
def test_strange_structures_say_nothing(nonsense: dict[str, Any]) -> None:
    """XMP of any other shape is no error and says nothing."""
    assert words_of({"Make": ["x"], "gps": {"latitude": None}}, nonsense, {"title": 3}) == Words(camera="x")


def test_words_are_json(tmp_path: Path) -> None:
    """The words of a picture survive JSON."""
    found = asdict(of_file(located(tmp_path / "x.jpg")))
    assert found["copyright"] == "Ann Own" and found["camera"] == "Example Camera 1"
    assert Words(**{k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(json.dumps(found)).items()})
