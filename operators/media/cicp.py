"""What stills say of their colour by code points (ITU-T H.273): AVIF and HEIF, and PNG in its chunk cICP."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pi_heif
from PIL import ImageFile

from operators.media.icc import profile

_SIGNATURE, _CHUNKS = 8, 64


def tell_colour(image: ImageFile.ImageFile, path: Path) -> None:
    """Gives the image the ICC profile that its code points stand for, unless it has one of its own; AVIF its depth.

    In PNG code points come before a profile (PNG, third edition, 4.3).
    """
    if image.format == "AVIF":
        image.info |= _avif_told(path)
    nclx = None if image.info.get("icc_profile") else image.info.get("nclx_profile")
    points = (nclx["color_primaries"], nclx["transfer_characteristics"]) if nclx else None
    if image.format == "PNG":
        points = _png_points(path)
    if points and (icc := profile(*points)):
        image.info["icc_profile"] = icc


def _avif_told(path: Path) -> dict[str | tuple[int, int], Any]:
    """What Pillow does not tell of an AVIF; nothing of one that this reader does not know."""
    with suppress(OSError, ValueError, SyntaxError, RuntimeError, EOFError, KeyError):
        told = pi_heif.open_heif(path).info
        return {"bit_depth": told["bit_depth"], "nclx_profile": told.get("nclx_profile")}
    return {}


def _png_points(path: Path) -> tuple[int, int] | None:
    """Primaries and transfer of the chunk cICP, which stands before the pixels."""
    with path.open("rb") as file:
        file.seek(_SIGNATURE)
        for _ in range(_CHUNKS):
            head = file.read(8)
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if len(kind) < 4 or kind in (b"IDAT", b"PLTE"):
                return None
            if kind == b"cICP":
                points = file.read(2)
                return (points[0], points[1]) if len(points) == 2 else None
            file.seek(length + 4, 1)
    return None
