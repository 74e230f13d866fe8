"""Every picture to 8-bit sRGB, upright: sample depth, palette, colour profile and EXIF orientation."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageCms

from operators.media import h273
from operators.media.icc import code_points
from operators.media.tonemap import Volume, mapped_still

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EIGHT_BIT = ("L", "LA", "RGB", "RGBA", "CMYK")
# of the triangle of sRGB's primaries in x, y, adapted to D50 as profiles have them (IEC 61966-2-1)
_SRGB_AREA, _WIDE = 0.1091, 1.1
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The picture as its EXIF orientation (tag 0x0112, 1..8) says it is to be seen."""
    return image.transpose(_TRANSPOSES[orientation]) if orientation in _TRANSPOSES else image


def _from_deep(image: Image.Image) -> Image.Image:
    """16-bit grey by its high byte; 32-bit integers and floats, with no agreed white, by their range."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return Image.fromarray((values >> 8).astype(np.uint8))
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    return Image.fromarray(((values - low) * (255 / ((high - low) or 1.0))).astype(np.uint8))


def eight_bit(image: Image.Image) -> Image.Image:
    """The picture as L, LA, RGB, RGBA or CMYK, 8 bits a channel; a transparent colour becomes alpha."""
    if image.mode[0] in "IF":
        return _from_deep(image)
    if image.mode == "LAB":
        return to_srgb(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
    if image.mode in _PREMULTIPLIED:
        return image.convert(_PREMULTIPLIED[image.mode])
    if image.has_transparency_data:
        return image if image.mode in ("LA", "RGBA") else image.convert("RGBA")
    if image.mode in _EIGHT_BIT:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def profile_name(icc: bytes | None) -> str | None:
    """The description in an ICC profile (ISO 15076-1), None without a readable one."""
    if not icc:
        return None
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc))).strip()[:200] or None
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def volume_of(icc: bytes | None) -> Volume | None:
    """The colour volume of a profile that names PQ or HLG."""
    points = code_points(icc) if icc else None
    transfer = h273.TRANSFER.get(points[1], "") if points else ""
    if points is None or transfer not in h273.HDR:
        return None
    return Volume(h273.PRIMARIES.get(points[0], "bt2020"), transfer)


def is_wide(icc: bytes | None) -> bool:
    """Whether an RGB profile's primaries span clearly more than sRGB's, as Display P3's and Rec. 2020's do.

    PQ and HLG do not count: 8 bits are too few for them.
    """
    if not icc or volume_of(icc):
        return False
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    primaries = profile.red_colorant, profile.green_colorant, profile.blue_colorant
    corners = [primary[1][:2] for primary in primaries if primary]
    return len(corners) == 3 and _area(corners) > _WIDE * _SRGB_AREA


def _area(corners: Sequence[Sequence[float]]) -> float:
    (ax, ay), (bx, by), (cx, cy) = corners
    return abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / 2


def _converted(image: Image.Image, icc: bytes) -> Image.Image | None:
    """Relative colorimetric with black point compensation; None where the profile is broken or unfit."""
    try:
        return ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """RGB or RGBA in sRGB of an 8-bit picture, alpha kept; without a usable profile it is sRGB already."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    base = image.convert(image.mode[:-1]) if alpha is not None else image
    converted: Image.Image | None = None
    if volume := volume_of(icc):
        converted = Image.fromarray(mapped_still(np.asarray(base.convert("RGB")), volume))
    elif icc and (name := profile_name(icc)) and not name.startswith("sRGB"):
        converted = _converted(base, icc)
    result = converted or (base if base.mode == "RGB" else base.convert("RGB"))
    if alpha is not None:
        result.putalpha(alpha)
    return result
