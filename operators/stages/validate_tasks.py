"""What sandboxed processes do to validate: the quick gate on header and first pictures, and the integrity checks."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from operators.media import documents, templates
from operators.media.image import check_image, quick_image
from operators.media.integrity import check_media
from operators.media.probe import quick_probe
from operators.media.source import Media, size_of
from operators.media.types import Detected, as_named, check_declared, settle
from operators.media.words import words_of
from schemas.errors import AssetError
from schemas.pipelines import Limits
from schemas.technical import Document, Picture, Technical


def gate(path: Media, detected: Detected, name: str, declared: str, limits: Limits) -> tuple[Detected, Technical]:
    """What the file is, and its technical metadata from header and first pictures.

    Raises empty_file, type_mismatch, unsupported_type, too_large, and what the kind's reader raises.
    """
    detected = expected(path, detected, name, declared, limits)
    technical = _read(path, detected, limits)
    return settled(detected, technical, limits), technical


def expected(path: Media, detected: Detected, name: str, declared: str, limits: Limits) -> Detected:
    """What the file should be, by its first bytes and its name. Raises what `gate` raises before it reads further."""
    size = size_of(path)
    if not size:
        raise AssetError("empty_file")
    detected = as_named(detected, declared, name)
    check_declared(detected, declared, name)
    if detected.kind not in ("video", "audio"):  # these are read whole, so their size comes first
        _bounded(size, str(detected.kind), limits)
    return detected


def settled(detected: Detected, technical: Technical, limits: Limits) -> Detected:
    """What the file is, now that its tracks are known. Raises too_large."""
    found = settle(detected, technical.video is not None)
    _bounded(technical.size, str(found.kind), limits)
    return found


def _bounded(size: int, kind: str, limits: Limits) -> None:
    if size > limits.bytes_of(kind):
        raise AssetError("too_large", f"{size} bytes, limit {limits.bytes_of(kind)} for {kind}")


def _read(media: Media, detected: Detected, limits: Limits) -> Technical:
    """Technical metadata. Only audio and video are read without a path."""
    if detected.kind in ("video", "audio"):
        return quick_probe(media, "video" if detected.kind == "video" else "audio", limits)
    assert isinstance(media, Path)
    return _READERS[str(detected.kind)](media, detected.media_type, limits)


def _image(path: Path, _type: str, limits: Limits) -> Technical:
    found = quick_image(path, limits)
    picture = Picture(
        width=found.width, height=found.height, orientation=found.orientation, mode=found.mode,
        bit_depth=found.bit_depth, alpha=found.alpha, colour_profile=found.colour_profile, frames=found.frames or 1,
        animated=found.animated, pages=found.pages, wide_gamut=found.wide_gamut, gain_map=found.gain_map,
    )  # fmt: skip
    return Technical(kind="image", container=found.format, size=path.stat().st_size, image=picture)


def _document(path: Path, media_type: str, limits: Limits) -> Technical:
    found = documents.quick(path, media_type, limits)
    words = tuple(filter(None, (word.strip() for word in re.split("[,;]", found.keywords or ""))))
    document = Document(
        pages=found.pages, version=found.version, encrypted=found.encrypted, title=found.title, author=found.author,
        description=found.subject, keywords=words, language=found.language, unit=found.unit, hidden=found.hidden,
        macros=found.macros,
    )  # fmt: skip
    return Technical(kind="document", container=found.format, size=path.stat().st_size, document=document)


def _template(path: Path, media_type: str, limits: Limits) -> Technical:
    found = templates.quick_template(path, media_type, limits)
    size, duration = path.stat().st_size, found.duration
    return Technical(kind="template", container=found.format, size=size, duration=duration, template=found)


_READERS = {"image": _image, "document": _document, "template": _template}


def check_sound_and_pictures(path: Path, _type: str, _limits: Limits) -> dict[str, Any]:
    """Decodes all sound and all key frames."""
    return asdict(check_media(path))


def check_pixels(path: Path, _type: str, limits: Limits) -> dict[str, Any]:
    """Decodes every frame, and reads EXIF, XMP and IPTC, and the words in them."""
    found = check_image(path, limits)
    blocks = {"exif": found.exif, "xmp": found.xmp, "iptc": found.iptc}
    return {"frames": found.frames, **blocks, "words": asdict(words_of(**blocks))}


def check_pages(path: Path, media_type: str, limits: Limits) -> dict[str, Any]:
    """Opens every page and part."""
    return {"page_sizes": documents.check(path, media_type, limits).page_sizes}


def check_parts(path: Path, media_type: str, limits: Limits) -> dict[str, Any]:
    """Draws a first frame, or compares every file with its digest."""
    return {"parts": templates.check_template(path, media_type, limits)}


CHECKS = {
    "video": check_sound_and_pictures,
    "audio": check_sound_and_pictures,
    "image": check_pixels,
    "document": check_pages,
    "template": check_parts,
}
