"""Images: opened under a limit, checked in full, and described. Every decoder is a format of Pillow's."""

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

from operators.media import jxl, raw, svg  # noqa: F401  (as above)
from operators.media.cicp import tell_colour
from operators.media.colour import is_wide, profile_name
from operators.media.gain_map import has_gain_map
from operators.media.metadata import image_metadata
from operators.media.webp import MOST_PIXELS_A_SIDE
from schemas.errors import AssetError
from schemas.pipelines import Limits

pi_heif.register_heif_opener()
# the sizes are compared with the asset's own limit before any decode, so Pillow's global one must not speak
Image.MAX_IMAGE_PIXELS = None

# a camera raw may look like a TIFF, and so is tried before it
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "RAW", "TIFF", "BMP", "AVIF", "HEIF", "JXL", "SVG")
_TURNED = ("TIFF", "HEIF", "JXL", "RAW")
_LATE = ("PNG", "JXL")  # metadata may be known only with the pixels
_CHECKED_WIDTH = 256
_COLOURED = ("RGB", "RGBA", "P")
_ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
_NEW_SUBFILE_TYPE = 254
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
    RecursionError,
)
_CUT_SHORT = ("truncated", "unexpected end", "not enough", "end of file", "premature", "input/output error")


@dataclass(frozen=True)
class Picture:
    """What an image is. `width`, `height` in pixels as shown; `orientation` EXIF 1..8 as stored in the file.

    `mode` is Pillow's, `bit_depth` bits a channel, `frames` None until counted, `colour_profile` the ICC
    profile's description. `animated` shows its frames one after another, `pages` are further pictures of a TIFF;
    `wide_gamut` has colours that sRGB lacks, `gain_map` a second picture that makes an HDR one of the base.
    """

    format: str
    width: int
    height: int
    orientation: int
    mode: str
    bit_depth: int
    alpha: bool
    colour_profile: str | None
    animated: bool = False
    pages: int = 1
    wide_gamut: bool = False
    gain_map: bool = False
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
                tell_colour(image, path)
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
    """The EXIF orientation (1..8) still to be applied: the decoders of `_TURNED` turn the picture themselves.

    Of a PNG it is certain only once its pixels are loaded.
    """
    return 1 if image.format in _TURNED else _stored_orientation(image)


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
        animated=image.format in _ANIMATED and bool(getattr(image, "is_animated", False)),
        pages=_pages(image) if image.format == "TIFF" else 1,
        wide_gamut=image.mode in _COLOURED and is_wide(image.info.get("icc_profile")),
        gain_map=has_gain_map(image),
    )


def _pages(image: ImageFile.ImageFile) -> int:
    """Pictures of a TIFF (to 10,000) but reduced copies and masks; reads their directories only."""
    count, place = 0, 0
    try:
        while place < MOST_FRAMES:
            image.seek(place)
            count, place = count + is_page(image), place + 1
    except EOFError:
        pass
    image.seek(0)
    return max(1, count)


def is_page(image: Any) -> bool:
    """Whether a TIFF's current picture is one of its own (TIFF 6.0, NewSubfileType), not a reduced copy or a mask."""
    return not int(image.tag_v2.get(_NEW_SUBFILE_TYPE, 0)) & 0b101


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


def drawing_size(size: tuple[int, int], width: int) -> tuple[int, int]:
    """A vector picture's size (pixels) when it is drawn that wide; less where it were too tall for any rendition."""
    factor = min(width / size[0], MOST_PIXELS_A_SIDE / size[1])
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def check_image(path: Path, limits: Limits) -> Picture:
    """Decodes every frame (in sum at most the pixel limit) and describes the image with its metadata.

    Raises too_many_pixels, unreadable_header, truncated, corrupt_image, decoder_memory.
    """
    with opened(path, limits) as image:
        picture = _described(image)
        if image.format == "SVG":
            image.draft(None, drawing_size(image.size, _CHECKED_WIDTH))
        image.load()
        if image.format in _LATE:
            picture = replace(_described(image), bit_depth=picture.bit_depth, animated=picture.animated)
        found = image_metadata(image)
        # an MPO's further pictures are previews and depth maps of the first
        frames = 1 if image.format == "MPO" else _decode_frames(image, limits)
        return replace(picture, frames=frames, exif=found["exif"], xmp=found["xmp"], iptc=found["iptc"])
