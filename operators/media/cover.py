"""Cover art of sound: a picture in ID3v2 (APIC), MP4 (covr), FLAC and Vorbis comments, or attached in Matroska."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from operators.media.rendition import render_image
from operators.media.source import cover_of, only, opened
from operators.media.webp import MadeFile
from schemas.errors import AssetError
from schemas.pipelines import ImageParams, Limits

WIDTH = 1000


@dataclass(frozen=True)
class Cover:
    """The poster made of the cover, a WebP, and its ThumbHash in base64."""

    file: MadeFile
    thumbhash: str


def render_cover(path: Path, out_dir: Path, quality: int, limits: Limits) -> Cover:
    """Makes a poster of at most 1,000 pixels of width from the cover, which may be of any image format.

    Raises unreadable_cover.
    """
    taken = out_dir / "cover"
    taken.write_bytes(_taken(path))
    params = ImageParams(widths=(WIDTH,), quality=quality)
    try:
        made = render_image(taken, out_dir, params, {"renditions", "thumbhash"}, limits)
    except AssetError as error:
        raise AssetError("unreadable_cover", f"{error.code}: {error.detail}") from error
    return Cover(made.files[0], made.thumbhash or "")


def _taken(path: Path) -> bytes:
    """The picture's own bytes."""
    with opened(path) as container:
        stream = cover_of(container)
        if stream is None:
            raise AssetError("unreadable_cover", "no picture")
        only(container, stream)
        packet = next((p for p in container.demux(stream) if p.size), None)
        if packet is None:
            raise AssetError("unreadable_cover", "no bytes")
        return bytes(packet)
