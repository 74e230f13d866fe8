"""Whether an ISO base media file (ISO/IEC 14496-12) or a RIFF file is whole, by its outermost boxes alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from operators.media.source import Media, read_from, size_of
from schemas.errors import AssetError

_FIRST = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
_MOST = 50_000
# Writers into a pipe cannot know a RIFF file's length: they leave 0 or next to the most. Some are off by a pad byte.
_RIFF_LENGTHS, _RIFF_SLACK = range(1, 0x7FFF_0000), 8


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """(type, end) of each outermost box; `end` in bytes from the file's start, as the box declares it."""
    at = 0
    for _ in range(_MOST):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        end = size if length == 0 else at + length
        yield head[4:8], end
        if end <= at + 7:
            return
        at = end


def boxes_of(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, offset, end) of each outermost box of a file of ours, or of a box's body; lengths are of 32 bits."""
    at = 0
    while at + 8 <= len(data):
        end = at + max(8, int.from_bytes(data[at : at + 4], "big"))
        yield data[at + 4 : at + 8], at, end
        at = end


def require_whole(path: Media) -> None:
    """Raises `truncated` for an MP4 or QuickTime file that ends early or never got its index, and for a WAV or AVI
    file that ends early; others pass.
    """
    size = size_of(path)
    with read_from(path) as file:
        head = file.read(8)
        if head[:4] == b"RIFF":
            _require_whole_riff(int.from_bytes(head[4:], "little"), size)
        if head[4:8] not in _FIRST:
            return
        kinds = set()
        for kind, end in _boxes(file, size):
            kinds.add(kind)
            if end > size:
                name = kind.decode("latin-1")
                raise AssetError("truncated", f"box {name!r} ends at byte {end}, the file has {size}")
    if not kinds & {b"moov", b"moof"}:
        raise AssetError("truncated", "the index (moov) is missing: the recording was not closed")


def _require_whole_riff(length: int, size: int) -> None:
    if length in _RIFF_LENGTHS and length + 8 > size + _RIFF_SLACK:
        raise AssetError("truncated", f"the header says {length + 8} bytes, the file has {size}")
