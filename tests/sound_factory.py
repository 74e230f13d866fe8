"""Sound files with known tags, chapters, covers and channels, and the meters of the ffmpeg program."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import media_factory as make
import numpy as np
from PIL import Image

CHAPTERS = ((0, 1000, "One & <two>"), (1000, 2000, "Zweites Kapitel"))
COVER_COLOUR = (200, 30, 60)
# Hz of each channel of 5.1
PITCHES = {"FL": 400, "FR": 500, "FC": 600, "LFE": 60, "BL": 700, "BR": 800}


def ffmpeg(*arguments: str | Path) -> str:
    """What the program says."""
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr


def ebur128(path: Path, filters: str = "") -> tuple[float, float]:
    """(LUFS, dBTP) by ffmpeg's filter, after others."""
    chain = f"{filters}," if filters else ""
    said = ffmpeg("-nostats", "-i", path, "-af", f"{chain}ebur128=peak=true", "-f", "null", "-")
    summary = said[said.rindex("Summary:") :]
    loudness, peak = (re.search(rf"{name}:\s+(\S+)", summary) for name in ("I", "Peak"))
    assert loudness and peak
    return float(loudness[1]), float(peak[1])


def surround(seconds: float) -> np.ndarray:
    """5.1 whose channels are sines of `PITCHES`, (6, n)."""
    return np.concatenate([make.tone(seconds, 0.1, hertz, 1) for hertz in PITCHES.values()])


def tagged(path: Path, *sources: Path, options: Sequence[str] = ()) -> Path:
    """All streams of the sources with `CHAPTERS`, in the format of the path's name."""
    notes = path.with_suffix(".txt")
    comments = path.suffix in (".ogg", ".opus", ".flac")
    notes.write_text("\n".join([";FFMETADATA1", *(_comments() if comments else _sections())]), "utf-8")
    chapters = () if comments else ("-map_chapters", "0")
    inputs = [part for source in sources for part in ("-i", source)]
    maps = [part for number in range(1, 1 + len(sources)) for part in ("-map", str(number))]
    ffmpeg("-i", notes, *inputs, *maps, "-map_metadata", "0", *chapters, *options, path)
    return path


def _sections() -> list[str]:
    return [f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}" for start, end, title in CHAPTERS]


def _comments() -> list[str]:
    return [f"CHAPTER{n:03d}=00:00:{start / 1000:06.3f}\nCHAPTER{n:03d}NAME={title}"
            for n, (start, _, title) in enumerate(CHAPTERS, 1)]  # fmt: skip


def covered(path: Path, sound: Path, format_: str = "PNG") -> Path:
    """A copy of a sound with a front cover of one colour, in the way of the format of the path's name."""
    cover = path.with_suffix(f".{format_.lower()}")
    Image.new("RGB", (640, 640), COVER_COLOUR).save(cover)
    codec = ("-c:a", "copy") if path.suffix in (".mka", ".flac") else ()
    if path.suffix == ".mka":
        kind = f"mimetype=image/{format_.lower()}"
        ffmpeg(
            "-i",
            sound,
            "-map",
            "0",
            *codec,
            "-attach",
            cover,
            "-metadata:s:t",
            kind,
            "-metadata:s:t",
            "filename=cover",
            path,
        )
    else:
        front = ("-c:v", "copy", "-disposition:v", "attached_pic", "-metadata:s:v", "comment=Cover (front)")
        ffmpeg("-i", sound, "-i", cover, "-map", "0:a", "-map", "1:v", *codec, *front, path)
    return path
