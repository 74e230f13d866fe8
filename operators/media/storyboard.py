"""What is put together from small pictures: the storyboard sprite with its map, the stills' archive."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from math import ceil
from pathlib import Path

from PIL import Image

from operators.media.plan import Pick

_EPOCH = (1980, 1, 1, 0, 0, 0)


def sprite(tiles: Mapping[int, Path], pick: Pick, columns: int, out: Path | str) -> tuple[int, int]:
    """Writes the JPEG sheet of all tiles (place in the storyboard -> file), row by row; returns its size.

    A place without a file (its picture was never shown) repeats the one before it.
    """
    count, (width, height) = len(pick.times), pick.size
    across = min(columns, count)
    sheet = Image.new("RGB", (across * width, ceil(count / across) * height))
    tile = Image.new("RGB", pick.size)
    for place in range(count):
        if place in tiles:
            with Image.open(tiles[place]) as opened:
                tile = opened.convert("RGB")
        sheet.paste(tile, (place % across * width, place // across * height))
    sheet.save(out, format="JPEG", quality=80)
    return sheet.size


def webvtt_map(pick: Pick, columns: int, duration: float, name: str = "sprite.jpg") -> str:
    """WebVTT whose cues point into the sprite `name` by media fragments (#xywh, pixels).

    Each cue lasts from its tile's time to the next one's, the last to `duration` (s).
    """
    across, (width, height) = min(columns, len(pick.times)), pick.size
    ends = (*pick.times[1:], max(duration, pick.times[-1] + 0.001))
    cues = [
        f"{_clock(start)} --> {_clock(end)}\n{name}#xywh={i % across * width},{i // across * height},{width},{height}\n"
        for i, (start, end) in enumerate(zip(pick.times, ends, strict=True))
    ]
    return "\n".join(["WEBVTT\n", *cues])


def _clock(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


def stills_archive(stills: Mapping[int, Path], out: Path | str) -> None:
    """Writes a stored ZIP of the stills (ms from the asset's zero -> JPEG), named `{ms:010d}.jpg`, in order.

    Equal stills give equal bytes.
    """
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for ms in sorted(stills):
            archive.writestr(zipfile.ZipInfo(f"{ms:010d}.jpg", _EPOCH), stills[ms].read_bytes())
