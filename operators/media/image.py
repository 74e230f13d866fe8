"""Images: opened under a limit, checked in full, and described. Every decoder is Pillow's or pi-heif's."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pi_heif
from PIL import (  # noqa: F401  (each plugin registers itself when it is imported, before any sandbox closes)
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from operators.media.colour import profile_name
from operators.media.metadata import image_metadata
from schemas.errors import AssetError
from schemas.pipelines import Limits

pi_heif.register_heif_opener()
# the sizes are compared with the asset's own limit before any decode, so Pillow's global one must not speak
Image.MAX_IMAGE_PIXELS = None

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")
MOST_FRAMES = 10_000
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
)
_CUT_SHORT = ("truncated", "unexpected end", "not enough", "end of file", "premature")


@dataclass(frozen=True)
class Picture:
    """What an image is. `width`, `height` in pixels as shown; `orientation` EXIF 1..8 as stored in the file.

    `mode` is Pillow's, `bit_depth` bits a channel, `frames` None until counted, `colour_profile` the ICC
    profile's description.
    """

    format: str
    width: int
    height: int
    orientation: int
    mode: str
    bit_depth: int
    alpha: bool
    colour_profile: str | None
    frames: int | None = None
    exif: dict[str, Any] = field(default_factory=dict)
    xmp: dict[str, Any] = field(default_factory=dict)
    iptc: dict[str, Any] = field(default_factory=dict)


def _broken(error: BaseException) -> AssetError:
    text = str(error)[:200]
    cut_short = any(word in text.lower() for word in _CUT_SHORT)
    return AssetError("truncated" if cut_short else "corrupt_image", text)


def limit_pixels(image: Image.Image, limits: Limits) -> None:
    """Raises too_many_pixels; reads the header's size only."""
    width, height = image.size
    if width * height > limits.pixels:
        raise AssetError("too_many_pixels", f"{width}x{height}, limit {limits.pixels}")


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[ImageFile.ImageFile]:
    """An image whose header is read and within the limit, not yet decoded; errors within get a code.

    Raises too_many_pixels, unreadable_header, truncated, corrupt_image, decoder_memory.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=FORMATS) as image:
                limit_pixels(image, limits)
                yield image
        except AssetError:
            raise
        except UnidentifiedImageError as error:
            raise AssetError("unreadable_header", "no image decoder knows it") from error
        except MemoryError as error:
            raise AssetError("decoder_memory") from error
        except _BROKEN as error:
            raise _broken(error) from error


def _stored_orientation(image: ImageFile.ImageFile) -> int:
    # a PNG may carry its EXIF behind the pixels, and Pillow would decode them to look for it
    if image.format == "PNG" and image.tile and "exif" not in image.info:
        return 1
    try:
        value = image.info.get("original_orientation") or image.getexif().get(ExifTags.Base.Orientation, 1)
    except _BROKEN:
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def orientation_of(image: ImageFile.ImageFile) -> int:
    """The EXIF orientation (1..8) still to be applied: TIFF and HEIF decoders turn the picture themselves.

    Of a PNG it is certain only once its pixels are loaded.
    """
    return 1 if image.format in ("TIFF", "HEIF") else _stored_orientation(image)


def _bit_depth(image: ImageFile.ImageFile) -> int:
    """Bits a channel in the file, which Pillow's mode does not tell for 16-bit colour."""
    if image.format == "PNG" and image.tile and isinstance(image.tile[0].args, str):
        depth = image.tile[0].args.partition(";")[2].rstrip("BLIS")
        return int(depth) if depth.isdigit() else 1 if image.mode == "1" else 8
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(258, (8,))
        return int(bits[0] if isinstance(bits, tuple) else bits)
    return int(image.info.get("bit_depth", 1 if image.mode == "1" else 8))


def _described(image: ImageFile.ImageFile) -> Picture:
    turn = orientation_of(image)
    width, height = image.size if turn < 5 else image.size[::-1]
    return Picture(
        format="JPEG" if image.format == "MPO" else str(image.format),
        width=width,
        height=height,
        orientation=_stored_orientation(image),
        mode=image.mode,
        bit_depth=_bit_depth(image),
        alpha=image.has_transparency_data,
        colour_profile=profile_name(image.info.get("icc_profile")),
    )


def quick_image(path: Path, limits: Limits) -> Picture:
    """The header alone, within milliseconds: nothing is decoded and no frames are counted.

    Raises too_many_pixels, unreadable_header, truncated, corrupt_image.
    """
    with opened(path, limits) as image:
        return _described(image)


def _decode_frames(image: ImageFile.ImageFile, limits: Limits) -> int:
    """Decodes frame after frame and returns their number (to 10,000); past the limit they are counted."""
    done, frame = 0, 0
    while done <= limits.pixels and frame < MOST_FRAMES:
        limit_pixels(image, limits)
        image.load()
        done, frame = done + image.width * image.height, frame + 1
        try:
            image.seek(frame)
        except EOFError:
            return frame
    return frame if frame == MOST_FRAMES else int(getattr(image, "n_frames", frame))


def check_image(path: Path, limits: Limits) -> Picture:
    """Decodes every frame (in sum at most the pixel limit) and describes the image with its metadata.

    Raises too_many_pixels, unreadable_header, truncated, corrupt_image, decoder_memory.
    """
    with opened(path, limits) as image:
        picture = _described(image)
        image.load()
        if image.format == "PNG":
            picture = replace(_described(image), bit_depth=picture.bit_depth)
        found = image_metadata(image)
        # an MPO's further pictures are previews and depth maps of the first
        frames = 1 if image.format == "MPO" else _decode_frames(image, limits)
        return replace(picture, frames=frames, exif=found["exif"], xmp=found["xmp"], iptc=found["iptc"])
