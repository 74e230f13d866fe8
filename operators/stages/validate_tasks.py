"""What sandboxed processes do to validate: the quick gate on header and first pictures, and the integrity checks."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from operators.media.document import check_document, quick_document
from operators.media.image import check_image, quick_image
from operators.media.integrity import check_media
from operators.media.probe import quick_probe
from operators.media.types import Detected, check_declared, settle
from schemas.errors import AssetError
from schemas.pipelines import Limits
from schemas.technical import Document, Picture, Technical


def gate(path: Path, detected: Detected, name: str, declared: str, limits: Limits) -> tuple[Detected, Technical]:
    """What the file is, and its technical metadata from header and first pictures.

    Raises empty_file, type_mismatch, unsupported_type, too_large, and what the kind's reader raises.
    """
    size = path.stat().st_size
    if not size:
        raise AssetError("empty_file")
    check_declared(detected, declared, name)
    technical = _READERS[str(detected.kind)](path, limits)
    settled = settle(detected, technical.video is not None)
    if size > limits.bytes_of(str(settled.kind)):
        raise AssetError("too_large", f"{size} bytes, limit {limits.bytes_of(str(settled.kind))} for {settled.kind}")
    return settled, technical


def _video(path: Path, limits: Limits) -> Technical:
    return quick_probe(path, "video", limits)


def _audio(path: Path, limits: Limits) -> Technical:
    return quick_probe(path, "audio", limits)


def _image(path: Path, limits: Limits) -> Technical:
    found = quick_image(path, limits)
    picture = Picture(
        width=found.width, height=found.height, orientation=found.orientation, mode=found.mode,
        bit_depth=found.bit_depth, alpha=found.alpha, colour_profile=found.colour_profile, frames=found.frames or 1,
    )  # fmt: skip
    return Technical(kind="image", container=found.format, size=path.stat().st_size, image=picture)


def _document(path: Path, limits: Limits) -> Technical:
    found = quick_document(path, limits)
    document = Document(
        pages=found.pages, version=found.version, encrypted=found.encrypted, title=found.title, author=found.author
    )
    return Technical(kind="document", container=found.format, size=path.stat().st_size, document=document)


_READERS = {"video": _video, "audio": _audio, "image": _image, "document": _document}


def check_sound_and_pictures(path: Path, _limits: Limits) -> dict[str, Any]:
    """Decodes all sound and all key frames."""
    return asdict(check_media(path))


def check_pixels(path: Path, limits: Limits) -> dict[str, Any]:
    """Decodes every frame, and reads EXIF, XMP and IPTC."""
    found = check_image(path, limits)
    return {"frames": found.frames, "exif": found.exif, "xmp": found.xmp, "iptc": found.iptc}


def check_pages(path: Path, limits: Limits) -> dict[str, Any]:
    """Opens every page."""
    return {"page_sizes": check_document(path, limits).page_sizes}


CHECKS = {
    "video": check_sound_and_pictures,
    "audio": check_sound_and_pictures,
    "image": check_pixels,
    "document": check_pages,
}
