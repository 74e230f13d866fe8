"""Metadata of images is read, bounded and kept out of what is delivered."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from media_fixtures import display_p3, quarters
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from operators.media.image import check_image
from operators.media.metadata import MOST_BYTES, bounded, embedded
from operators.media.rendition import render_image
from schemas.pipelines import ImageParams, Limits

LIMITS = Limits()


def photo_with_metadata(path: Path) -> Path:
    """A JPEG with a position, an author and dates in EXIF, a title in XMP, keywords and a caption in IPTC."""
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Ann Example"
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base.DateTimeOriginal: "2024:05:06 07:08:09", ExifTags.Base.ExposureTime: IFDRational(1, 0)}
    )
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(
        {1: "S", 2: (33.0, 51.0, 24.48), 3: "E", 4: (151.0, 12.0, 54.0), 5: b"\x01", 6: IFDRational(25, 2)}
    )
    rdf = b'<r:RDF xmlns:r="u:r"><r:Description title="Harbour"/></r:RDF>'
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + rdf + b"</x:xmpmeta>"
    quarters().save(path, exif=exif, xmp=xmp, icc_profile=display_p3(), comment=b"hello", quality=95)
    fields = [(120, "Übersicht".encode()), (25, b"sea"), (25, b"bridge")]
    record = b"".join(struct.pack(">BBBH", 0x1C, 2, number, len(text)) + text for number, text in fields)
    block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record + bytes(len(record) % 2)
    data = path.read_bytes()
    path.write_bytes(data[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + data[2:])
    return path


def test_metadata_is_read(tmp_path: Path) -> None:
    """EXIF has names and decimal degrees, XMP and IPTC their text; all of it is JSON."""
    picture = check_image(photo_with_metadata(tmp_path / "x.jpg"), LIMITS)
    assert picture.exif["Artist"] == "Ann Example"
    assert picture.exif["DateTimeOriginal"] == "2024:05:06 07:08:09"
    assert "ExposureTime" not in picture.exif
    assert picture.exif["gps"] == {"latitude": -33.8568, "longitude": 151.215, "altitude_m": -12.5}
    assert picture.xmp["xmpmeta"]["RDF"]["Description"] == {"title": "Harbour"}
    assert picture.iptc == {"caption": "Übersicht", "keywords": ["sea", "bridge"]}
    assert json.loads(json.dumps(picture.exif)) == picture.exif


def test_renditions_carry_no_metadata(tmp_path: Path) -> None:
    """The source's position, author and comment are in no rendition and no still; only the wide one has its profile."""
    source = photo_with_metadata(tmp_path / "x.jpg")
    assert embedded(source) == {"exif", "xmp", "iptc", "icc", "comment"}
    out = tmp_path / "out"
    out.mkdir()
    made = render_image(source, out, ImageParams(widths=(100, 50)))
    assert [file.role for file in made.files] == ["rendition", "rendition", "wide", "still"]
    for file in made.files:
        assert embedded(out / file.name) == ({"icc"} if file.role == "wide" else set())
        assert b"Ann Example" not in (out / file.name).read_bytes()


def test_hostile_metadata_is_dropped(tmp_path: Path) -> None:
    """XMP with entities and EXIF of nonsense leave the picture usable and the metadata empty."""
    path = tmp_path / "x.jpg"
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'
    quarters().save(path, xmp=bomb, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    picture = check_image(path, LIMITS)
    assert (picture.xmp, picture.exif, picture.orientation) == ({}, {}, 1)


def test_metadata_is_bounded() -> None:
    """However much a file says, what is kept is small, and the largest values go first."""
    values = {f"k{i}": "x" * 100_000 for i in range(90)} | {
        "deep": [[[[[[[[1]]]]]]]],
        "small": 7,
        "nan": float("nan"),
    }
    kept = bounded(values)
    assert len(json.dumps(kept)) < MOST_BYTES + 4_000
    assert kept["small"] == 7 and "nan" not in kept
