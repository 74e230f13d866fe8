"""Text subtitles, of a container's tracks or of a file of their own, as WebVTT (W3C) without styling."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import av

from operators.media.languages import bcp47, known
from operators.media.source import only, opened, origin_of
from schemas.errors import AssetError

TEXT = frozenset({"mov_text", "subrip", "ass", "ssa", "webvtt", "text"})
BITMAP = frozenset({"hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle", "xsub"})
FORMATS = {".srt": "srt", ".vtt": "webvtt", ".ass": "ass", ".ssa": "ass"}
_FORCED, _SOUNDS = {"forced"}, {"sdh", "cc"}
_LONGEST_S = 5.0
_DRAWING = re.compile(r"\{[^}]*\\p[1-9][^}]*\}.*?(?=\{[^}]*\\p0[^}]*\}|$)", re.DOTALL)
_OVERRIDE = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True)
class Cue:
    """A text on screen from `start` to `end` (s from the asset's zero)."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Written:
    """A WebVTT file in the folder: how many cues it has, and how many packets could not be read."""

    file: str
    cues: int
    damaged: int = 0


@dataclass(frozen=True)
class Named:
    """What a sidecar's name says of it: `language` in BCP 47, whether it is forced, or tells of sounds, too."""

    language: str = ""
    forced: bool = False
    sounds: bool = False


def tracks_to_webvtt(path: Path | str, folder: Path, places: Sequence[int]) -> tuple[Written, ...]:
    """Writes `subtitles-<n>.vtt` for the n-th subtitle tracks of a container, in one reading.

    Damaged packets are left out and counted. Errors: unreadable_header.
    """
    with opened(path) as container:
        streams = {container.streams.subtitles[place].index: place for place in places}
        only(container, *(container.streams[index] for index in streams))
        found, damaged = _read(container, origin_of(container))
    return tuple(_written(folder, place, found.get(i, []), damaged.get(i, 0)) for i, place in streams.items())


def file_to_webvtt(path: Path | str, folder: Path, form: str, place: int) -> Written:
    """The same for a file of subtitles in a format of `FORMATS`, its text in UTF-8, UTF-16 or Windows-1252.

    Errors: subtitles_unreadable.
    """
    plain = folder / f"plain-{place}.{form}"
    plain.write_text(_decoded(Path(path).read_bytes()), "utf-8")
    asked = {"protocol_whitelist": "file", "format_whitelist": form}
    try:
        with av.open(f"file:{plain}", "r", format=form, options=asked) as container:
            found, damaged = _read(container, Fraction(0))
    except av.FFmpegError as error:
        raise AssetError("subtitles_unreadable", f"not {form}: {error.strerror}") from error
    cues = found.get(0, [])
    if not cues:
        raise AssetError("subtitles_unreadable", f"no cue of {form} in it")
    return _written(folder, place, cues, damaged.get(0, 0))


def named(name: str) -> Named:
    """What stands between a sidecar's name and extension: "clip.pt-BR.forced.srt"."""
    parts = [part.lower() for part in PurePosixPath(name).stem.split(".")[1:]]
    languages = [part for part in parts if known(part)]
    return Named(bcp47(languages[-1]) if languages else "", bool(_FORCED & set(parts)), bool(_SOUNDS & set(parts)))


def _decoded(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _read(container: Any, origin: Fraction) -> tuple[dict[int, list[Cue]], dict[int, int]]:
    """The cues and the count of damaged packets by the track's index."""
    found: dict[int, list[Cue]] = {}
    damaged: dict[int, int] = {}
    for packet in container.demux(*(s for s in container.streams.subtitles if s.codec_context)):
        if not packet.size or packet.pts is None:
            continue
        index = packet.stream.index
        try:
            text = _text(packet)
        except av.FFmpegError:
            damaged[index] = damaged.get(index, 0) + 1
            continue
        start = float(packet.pts * packet.time_base - origin)
        end = start + (float(packet.duration * packet.time_base) if packet.duration else _LONGEST_S)
        if text and end > 0:
            found.setdefault(index, []).append(Cue(max(0.0, start), end, text))
    return found, damaged


def _text(packet: Any) -> str:
    """All decoders of text give events of ASS."""
    lines = (_plain(rect.ass) for rect in packet.decode() if rect.type == b"ass")
    return "\n".join(line for line in lines if line)


def _plain(event: bytes) -> str:
    """The words of an ASS event, less drawings, overrides and empty lines; eight fields stand before them."""
    text = event.decode("utf-8", errors="replace").split(",", 8)[-1]
    text = _OVERRIDE.sub("", _DRAWING.sub("", text))
    text = text.replace(r"\N", "\n").replace(r"\n", "\n").replace(r"\h", "\u00a0")
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def _written(folder: Path, place: int, cues: Sequence[Cue], damaged: int) -> Written:
    name = f"subtitles-{place}.vtt"
    (folder / name).write_text(webvtt(cues), "utf-8")
    return Written(name, len(cues), damaged)


def webvtt(cues: Sequence[Cue]) -> str:
    """A WebVTT file of cues, by their beginning."""
    ordered = sorted(cues, key=lambda cue: (cue.start, cue.end))
    blocks = [f"{_clock(cue.start)} --> {_clock(cue.end)}\n{_escaped(cue.text)}\n" for cue in ordered]
    return "\n".join(["WEBVTT\n", *blocks])


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float) -> str:
    minutes, millis = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{millis // 1000:02d}.{millis % 1000:03d}"
