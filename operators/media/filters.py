"""The filters that turn a decoded picture into the upright one from which renditions are made."""

from __future__ import annotations

from av import VideoFormat

from operators.media import h273
from operators.media.geometry import upright_filters
from operators.media.tonemap import Volume, volume_of
from schemas.technical import VideoTrack

# A filter's name and arguments, or a colour volume that is mapped to BT.709 (`tonemap`).
Filters = tuple[tuple[str, str] | Volume, ...]

# Film and fields follow each other in one stream of these, whatever its first picture is.
_MIXED = {"mpeg2video", "dvvideo"}
_PLANAR_ALPHA = "gbrap|gbrap10le|gbrap12le|gbrap16le"


def standard_filters(track: VideoTrack, stored: tuple[int, int], colour: h273.Colour) -> Filters:
    """To 8-bit 4:2:0 of standard range in `colour`, (width, height) `stored` before it is turned upright.

    Fields become frames, alpha is laid over black, a wider colour volume is mapped. Empty where nothing is to do.
    """
    upright, fields, volume = upright_filters(track.rotation, track.mirrored), _fields(track), volume_of(track)
    plain = h273.is_plain(track.primaries, track.transfer, track.matrix)
    if plain and track.pixel_format == "yuv420p" and track.range != "full" and not upright and not fields:
        return ()
    size = f"{stored[0]}:{stored[1]}:flags=bicubic"
    matrix = _unnamed(track, h273.BT2020_MATRIX if volume else colour.matrix)
    delivered = f"out_color_matrix={colour.matrix}:out_range=limited"
    end = (("format", "yuv420p"), *upright)
    if volume:
        return (*fields, ("scale", size + matrix), ("format", "gbrp16le"), volume, ("scale", delivered), *end)
    if track.alpha:
        flat = (("scale", matrix.lstrip(":")), ("format", _PLANAR_ALPHA), ("premultiply", "inplace=1"))
        return (*fields, *flat, ("scale", f"{size}:{delivered}"), *end)
    return (*fields, ("scale", f"{size}{matrix}:{delivered}"), *end)


def wide_filters(track: VideoTrack, stored: tuple[int, int]) -> Filters:
    """To 10-bit 4:2:0 in the source's own colour volume, for a rendition that keeps it."""
    scale = f"{stored[0]}:{stored[1]}:flags=bicubic{_unnamed(track, h273.BT2020_MATRIX)}:out_range=limited"
    ends = (("format", "yuv420p10le"), *upright_filters(track.rotation, track.mirrored))
    return (*_fields(track), ("scale", f"{scale}:out_color_matrix={h273.BT2020_MATRIX}"), *ends)


def needs_neighbours(filters: Filters) -> bool:
    """Whether a picture is made from those before and after it too."""
    return any(step[0] == "bwdif" for step in filters if not isinstance(step, Volume))


def _fields(track: VideoTrack) -> Filters:
    mixed = track.interlaced or track.codec in _MIXED
    return (("bwdif", "mode=send_frame:deint=interlaced"),) if mixed else ()


def _unnamed(track: VideoTrack, matrix: int) -> str:
    """The argument that names the matrix where the source does not: the scaler would take BT.601."""
    is_rgb = track.pixel_format is not None and VideoFormat(track.pixel_format).is_rgb
    return "" if is_rgb or track.matrix != "unspecified" else f":in_color_matrix={matrix}"
