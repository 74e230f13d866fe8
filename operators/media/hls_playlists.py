"""HLS playlists (RFC 8216, version 7 for fMP4): text from what was written where."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

VERSION = 7
_STREAM, _SUBTITLED, _NO_CAPTIONS = "#EXT-X-STREAM-INF:", ',SUBTITLES="subtitles"', ",CLOSED-CAPTIONS=NONE"
_TITLE = re.compile(r'#EXT-X-MEDIA:TYPE=SUBTITLES,.*?NAME="([^"]*)"')


@dataclass(frozen=True)
class Piece:
    """A stretch of a media file: seconds it lasts, bytes from `offset`."""

    seconds: Fraction
    offset: int
    bytes: int


@dataclass(frozen=True)
class Media:
    """A track's file: its name, how many bytes initialise a decoder, its segments, and key frames of a video."""

    file: str
    head: int
    segments: tuple[Piece, ...]
    keys: tuple[Piece, ...] = ()

    @property
    def seconds(self) -> Fraction:
        """The track's length."""
        return sum((piece.seconds for piece in self.segments), Fraction(0))

    @property
    def average(self) -> int:
        """Mean bit/s of the segments."""
        return math.ceil(8 * sum(piece.bytes for piece in self.segments) / self.seconds)

    def peak(self, target: int) -> int:
        """The highest bit/s of any row of segments that lasts from half to one and a half times `target` seconds."""
        return max([rate for rate in _rates(self.segments, target)], default=self.average)


@dataclass(frozen=True)
class Picture:
    """What a master playlist says of a video; `codecs` of video alone, `hdr` is SDR, PQ or HLG."""

    name: str
    media: Media
    codecs: str
    width: int
    height: int
    rate: Fraction
    hdr: str = "SDR"


@dataclass(frozen=True)
class Label:
    """What a player offers for a track: `language` in BCP 47."""

    title: str
    language: str = ""
    default: bool = False
    forced: bool = False
    channels: int = 0


@dataclass(frozen=True)
class Sound:
    """An audio rendition."""

    name: str
    media: Media
    codecs: str
    label: Label


def target_of(media: Iterable[Media]) -> int:
    """The target duration (s) that all media playlists share."""
    return max((_nearest(piece.seconds) for one in media for piece in one.segments), default=1)


def _nearest(seconds: Fraction) -> int:
    """To the nearest second, as EXTINF is compared with the target (RFC 8216, 4.3.3.1)."""
    return max(1, math.floor(seconds + Fraction(1, 2)))


def media_playlist(media: Media, target: int) -> str:
    """All segments of a file by their byte ranges."""
    return _playlist(media, media.segments, target, ["#EXT-X-INDEPENDENT-SEGMENTS"])


def iframes_playlist(media: Media) -> str:
    """Each key frame's fragment, which lasts until the next one."""
    return _playlist(media, media.keys, max(_nearest(k.seconds) for k in media.keys), ["#EXT-X-I-FRAMES-ONLY"])


def _playlist(media: Media, pieces: Sequence[Piece], target: int, more: list[str]) -> str:
    lines = [*_first(), f"#EXT-X-TARGETDURATION:{target}", "#EXT-X-MEDIA-SEQUENCE:0", "#EXT-X-PLAYLIST-TYPE:VOD", *more]
    lines.append(f'#EXT-X-MAP:URI="{media.file}",BYTERANGE="{media.head}@0"')
    for piece in pieces:
        lines += [_inf(piece.seconds), f"#EXT-X-BYTERANGE:{piece.bytes}@{piece.offset}", media.file]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""])


def text_playlist(file: str, seconds: Fraction) -> str:
    """One WebVTT file as the only segment."""
    head = [*_first(), f"#EXT-X-TARGETDURATION:{_nearest(seconds)}", "#EXT-X-MEDIA-SEQUENCE:0"]
    return "\n".join([*head, "#EXT-X-PLAYLIST-TYPE:VOD", _inf(seconds), file, "#EXT-X-ENDLIST", ""])


def _first() -> list[str]:
    return ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}"]


def _inf(seconds: Fraction) -> str:
    return f"#EXTINF:{float(seconds):.6f},"


def master_playlist(
    pictures: Sequence[Picture], sounds: Sequence[Sound], texts: Sequence[tuple[str, Label]], target: int
) -> str:
    """The variants from small to large, their key frames, and groups of audio and of subtitles ((name, label))."""
    lines = [*_first(), "#EXT-X-INDEPENDENT-SEGMENTS"]
    named = _named([(one.name, one.label) for one in sounds])
    lines += [_rendition("AUDIO", "audio", name, label) for name, label in named]
    order = sorted(pictures, key=lambda one: (one.width * one.height, one.media.average))
    for one in order:
        lines += [_variant(one, sounds, target), f"{one.name}.m3u8"]
    lines += [_key_frames(one, target) for one in order if one.media.keys]
    return with_texts("\n".join([*lines, ""]), texts)


def with_texts(master: str, texts: Sequence[tuple[str, Label]]) -> str:
    """A master playlist with subtitles ((name, label)), after those that it has already."""
    if not texts:
        return master
    named = _named(texts, _TITLE.findall(master))
    lines = [_with_group(line) for line in master.splitlines()]
    first = next(place for place, line in enumerate(lines) if line.startswith(_STREAM))
    group = [_rendition("SUBTITLES", "subtitles", name, label) for name, label in named]
    return "\n".join([*lines[:first], *group, *lines[first:], ""])


def _with_group(line: str) -> str:
    wanted = line.startswith(_STREAM) and _SUBTITLED not in line
    return line.removesuffix(_NO_CAPTIONS) + _SUBTITLED + _NO_CAPTIONS if wanted else line


def _named(tracks: Sequence[tuple[str, Label]], taken: Iterable[str] = ()) -> list[tuple[str, Label]]:
    """The same with titles that differ within the group."""
    found, titles = list[tuple[str, Label]](), set(taken)
    for name, label in tracks:
        title, count = label.title, 2
        while title in titles:
            title, count = f"{label.title} {count}", count + 1
        titles.add(title)
        found.append((name, replace(label, title=title)))
    return found


def _rendition(kind: str, group: str, name: str, label: Label) -> str:
    yes = {True: "YES", False: "NO"}
    parts = [f"TYPE={kind}", f'GROUP-ID="{group}"', f'NAME="{_quoted(label.title)}"']
    parts += [f'LANGUAGE="{label.language}"'] if label.language else []
    parts += [f"DEFAULT={yes[label.default]}", "AUTOSELECT=YES"]
    parts += [f"FORCED={yes[label.forced]}"] if kind == "SUBTITLES" else [f'CHANNELS="{label.channels}"']
    return f'#EXT-X-MEDIA:{",".join(parts)},URI="{name}.m3u8"'


def _quoted(text: str) -> str:
    """A quoted string of a playlist has neither quotes nor line breaks."""
    return "".join(sign if sign.isprintable() and sign != '"' else " " for sign in text)


def _variant(one: Picture, sounds: Sequence[Sound], target: int) -> str:
    peak = one.media.peak(target) + max((sound.media.peak(target) for sound in sounds), default=0)
    mean = one.media.average + max((sound.media.average for sound in sounds), default=0)
    codecs = ",".join(dict.fromkeys([one.codecs, *(sound.codecs for sound in sounds)]))
    parts = [f"BANDWIDTH={max(peak, mean)}", f"AVERAGE-BANDWIDTH={mean}", f'CODECS="{codecs}"', _size(one)]
    parts += [f"FRAME-RATE={float(one.rate):.3f}", f"VIDEO-RANGE={one.hdr}"]
    parts += ['AUDIO="audio"'] if sounds else []
    return f"{_STREAM}{','.join(parts)}{_NO_CAPTIONS}"


def _key_frames(one: Picture, target: int) -> str:
    keys = Media(one.media.file, one.media.head, one.media.keys)
    parts = [f"BANDWIDTH={max(keys.peak(target), keys.average)}", f"AVERAGE-BANDWIDTH={keys.average}"]
    parts += [f'CODECS="{one.codecs}"', _size(one), f"VIDEO-RANGE={one.hdr}", f'URI="{one.name}-iframes.m3u8"']
    return f"#EXT-X-I-FRAME-STREAM-INF:{','.join(parts)}"


def _size(one: Picture) -> str:
    return f"RESOLUTION={one.width}x{one.height}"


def _rates(pieces: Sequence[Piece], target: int) -> Iterable[int]:
    """bit/s of all rows of pieces of about the target duration."""
    for first in range(len(pieces)):
        seconds, size = Fraction(0), 0
        for piece in pieces[first:]:
            seconds, size = seconds + piece.seconds, size + piece.bytes
            if seconds > Fraction(3, 2) * target:
                break
            if seconds >= Fraction(target, 2):
                yield math.ceil(8 * size / seconds)
