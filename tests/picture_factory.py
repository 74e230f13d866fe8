"""Pictures of rarer kinds with known properties: camera raw, vector, multi-page, animated, with a gain map."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from media_fixtures import BLUE, GREEN, RED, quarters
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
# the quarters of `media_fixtures.quarters`, the last left transparent
SHAPES = "".join(
    f'<rect x="{x}" y="{y}" width="60" height="40" fill="rgb{colour}"/>'
    for x, y, colour in ((0, 0, RED), (60, 0, GREEN), (0, 40, BLUE))
)
_XYZ_TO_SRGB = (3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.2040, 1.0570)
_PHOTOMETRIC, _CFA = 262, 32803


def dng(picture: Image.Image, orientation: int = 1) -> bytes:
    """A DNG (Adobe, 1.4) of a camera that sees sRGB's primaries in linear light through a Bayer pattern RGGB."""
    linear = ((np.asarray(picture) / 255.0) ** 2.2 * 65_535).astype(np.uint16)
    mosaic = np.empty(linear.shape[:2], np.uint16)
    for y, x, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[y::2, x::2] = linear[y::2, x::2, channel]
    matrix = tuple(IFDRational(round(10_000 * value), 10_000) for value in _XYZ_TO_SRGB)
    tags = {
        254: (0, 4), 271: ("Example", 2), 272: ("Camera 1", 2), 274: (orientation, 3), 33421: ((2, 2), 3),
        33422: (bytes([0, 1, 1, 2]), 1), 50706: (bytes([1, 4, 0, 0]), 1), 50708: ("Example Camera 1", 2),
        50714: ((0,), 3), 50717: (65_535, 4), 50721: (matrix, 10), 50728: ((IFDRational(1),) * 3, 5), 50778: (21, 3),
    }  # fmt: skip
    directory = ImageFileDirectory_v2()
    for tag, (value, kind) in tags.items():
        directory.tagtype[tag], directory[tag] = kind, value
    file = io.BytesIO()
    Image.fromarray(mosaic).save(file, "TIFF", tiffinfo=directory)
    return _with_short(bytearray(file.getvalue()), _PHOTOMETRIC, _CFA)


def _with_short(tiff: bytearray, tag: int, value: int) -> bytes:
    """A little-endian TIFF with a tag of its first directory changed."""
    (at,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, at)
    place = next(p for p in range(at + 2, at + 2 + 12 * count, 12) if struct.unpack_from("<H", tiff, p)[0] == tag)
    struct.pack_into("<H", tiff, place + 8, value)
    return bytes(tiff)


def paged_tiff(path: Path) -> Path:
    """Three pages: quarters, their reduced copy which is none, a green one twice as wide, a grey one of 16 bits."""
    reduced = ImageFileDirectory_v2()
    reduced[254] = 1
    first, second = quarters(), Image.new("RGB", (240, 80), GREEN)
    third = Image.fromarray(np.full((40, 60), 0x8080, np.uint16))
    with io.BytesIO() as file:
        small = quarters(60, 40)
        small.encoderinfo = {"tiffinfo": reduced}  # type: ignore[attr-defined]
        first.save(file, "TIFF", save_all=True, append_images=[small, second, third])
        path.write_bytes(file.getvalue())
    return path


def animated(path: Path, durations: list[int], loop: int | None = 0, clear: bool = False) -> Path:
    """Frames of one colour each: black, then red, green and blue in turn, each shown so long (ms)."""
    colours = [(0, 0, 0), *([RED, GREEN, BLUE] * len(durations))][: len(durations)]
    frames = [Image.new("RGBA" if clear else "RGB", (120, 80), colour) for colour in colours]
    if clear:
        for frame in frames:
            frame.paste((0, 0, 0, 0), (0, 0, 60, 80))
    options = {} if loop is None else {"loop": loop}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, **options)  # type: ignore[arg-type]
    return path


def segment_with_scan() -> bytes:
    """An application segment of a JPEG that has a whole JPEG in it, as EXIF has a thumbnail."""
    with io.BytesIO() as file:
        quarters(30, 20).save(file, "JPEG")
        return b"\xff\xe2" + struct.pack(">H", 2 + len(file.getvalue())) + file.getvalue()


def ultra_hdr(path: Path, before: bytes = b"") -> Path:
    """A JPEG with a gain map as its second picture (CIPA DC-007), marked as Ultra HDR's in the first one's XMP.

    `before` are segments in front of all others.
    """
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    quarters().save(
        path, "MPO", save_all=True, append_images=[Image.new("RGB", (60, 40), "white")], quality=95, xmp=xmp
    )
    return path


def apple_gain_map(path: Path) -> Path:
    """A JPEG whose second picture alone is marked as a gain map, as Apple's cameras write it."""
    mark = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:HDRGainMap="http://ns.apple.com/HDRGainMap/1.0/"/>'
    second = Image.new("L", (60, 40), 255)
    second.encoderinfo = {"xmp": mark}  # type: ignore[attr-defined]
    quarters().save(path, "MPO", save_all=True, append_images=[second], quality=95)
    return path


def located(path: Path, icc: bytes = b"") -> Path:
    """A photo of quarters that says where it was taken, by whom and with what, in EXIF and in XMP."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model], exif[ExifTags.Base.Artist] = "Example", "Camera 1", "Ann Own"
    exif[ExifTags.Base.ImageDescription] = "A harbour"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2024:05:06 07:08:09"
    north, east = (52.0, 31.0, 12.0), (13.0, 24.0, 0.0)
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: north, 3: "E", 4: east})
    options = {"icc_profile": icc} if icc else {}
    quarters(300, 200).save(path, exif=exif, xmp=xmp('dc:rights="Ann Own"', PLACE), **options)  # type: ignore[arg-type]
    return path


PLACE = 'exif:GPSLatitude="52,31.2N" exif:GPSLongitude="13,24.0E"'


def xmp(*attributes: str, inside: str = "") -> bytes:
    """An XMP packet (ISO 16684-1) of one description with these attributes and elements."""
    spaces = {
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "dc": "http://purl.org/dc/elements/1.1/",
        "exif": "http://ns.adobe.com/exif/1.0/", "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "tiff": "http://ns.adobe.com/tiff/1.0/", "aux": "http://ns.adobe.com/exif/1.0/aux/",
    }  # fmt: skip
    named = " ".join(f'xmlns:{name}="{space}"' for name, space in spaces.items())
    described = f'<rdf:Description rdf:about="" {" ".join(attributes)}>{inside}</rdf:Description>'
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {named}>{described}</rdf:RDF></x:xmpmeta>'.encode()


def listed(name: str, kind: str, *items: str) -> str:
    """An XMP property that is a list: `kind` is Alt, Seq or Bag; an item "de:Hafen" of an Alt has its language."""
    lines = []
    for language, _, text in (item.rpartition(":") for item in items):
        lines.append(f'<rdf:li xml:lang="{language}">{text}</rdf:li>' if language else f"<rdf:li>{text}</rdf:li>")
    return f"<{name}><rdf:{kind}>{''.join(lines)}</rdf:{kind}></{name}>"
