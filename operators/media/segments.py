"""Segments in fragmented MP4 (ISO/IEC 14496-12, 8.8) that need no neighbour, and the playlist that names them.

The rule of ticks: the first `DELAY` decode times are the ticks just before the first picture's, the others are the
times at which pictures are shown, in order; and the whole timeline, the sound's too, is later by `DELAY` ticks. Decode
times then rise over every seam, none is after its picture's time, none is negative, and all segments of a rendition
share one initialization.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av

from operators.media.boxes import boxes_of
from operators.media.source import audio_of, only, opened, video_of

DELAY = 2
TARGET_S = 6
_LEAST_S = 4
_MUXING = "+frag_keyframe+empty_moov+default_base_moof+frag_discont"


@dataclass(frozen=True)
class Segment:
    """A segment's length in s, and where its bytes lie in the file that has it."""

    seconds: float
    offset: int
    bytes: int


@dataclass(frozen=True)
class Cut:
    """The initialization, and segments one after the other."""

    init: bytes
    media: bytes
    segments: tuple[Segment, ...]


def split(data: bytes) -> tuple[bytes, bytes]:
    """Initialization and media of a fragmented file."""
    found = list(boxes_of(data))
    start = next(at for kind, at, _ in found if kind == b"moof")
    return data[:start], data[start : next((at for kind, at, _ in found if kind == b"mfra"), len(data))]


def cut(
    path: Path, sound: Path | None, origin: Fraction, start: Fraction, stop: Fraction | None, end: Fraction, last: bool
) -> Cut:
    """The groups of pictures of an encode of ours whose key frames are at start <= time < stop, with their sound.

    `origin` (s) is the asset's zero on the pictures' clock, all other times are from there; `end` is when the last
    picture of the file ends. `sound` is an MP4 whose zero is the asset's: of the `last` part it is taken to its end.
    """
    with ExitStack() as stack:
        pictures = stack.enter_context(opened(path))
        video: Any = video_of(pictures)
        track = _Track(stack, sound) if sound else None
        shift = round(origin / video.time_base)
        init, parts, at, made = b"", list[bytes](), 0, list[Segment]()
        for group, until, is_last in _gathered(_groups(pictures, video, shift, start, stop, end), video):
            heard = None if last and is_last else (until - shift) * video.time_base
            seconds = float((until - min(packet.pts for packet in group)) * video.time_base)
            init, media = _written(video, group, until, shift, track, heard)
            made.append(Segment(seconds, at, len(media)))
            parts.append(media)
            at += len(media)
    return Cut(init, b"".join(parts), tuple(made))


Groups = list[tuple[list[Any], int]]


def _groups(container: Any, video: Any, shift: int, start: Fraction, stop: Fraction | None, end: Fraction) -> Groups:
    """Packets from key frame to key frame, closed as our encodes are, and when (pts) the next group begins."""
    only(container, video)
    first, after = (shift + round(time / video.time_base) for time in (start, end))
    beyond = None if stop is None else shift + round(stop / video.time_base)
    container.seek(first, stream=video)
    groups: list[list[Any]] = []
    for packet in container.demux(video):
        if packet.size and packet.is_keyframe:
            if beyond is not None and packet.pts >= beyond:
                after = packet.pts
                break
            groups.append([])
        if packet.size and groups:
            groups[-1].append(packet)
    kept = [group for group in groups if group[0].pts >= first]
    return [(g, after if following is None else following[0].pts) for g, following in pairwise([*kept, None]) if g]


def _gathered(groups: Groups, video: Any) -> Iterator[tuple[list[Any], int, bool]]:
    """Groups put together until they last long enough, when that ends (pts), and whether it is the last one."""
    held: list[Any] = []
    for number, (group, until) in enumerate(groups, 1):
        held, is_last = held + group, number == len(groups)
        if is_last or (until - held[0].pts) * video.time_base >= _LEAST_S:
            yield held, until, is_last
            held = []


class _Track:
    """An MP4's sound, read on from segment to segment."""

    def __init__(self, stack: ExitStack, path: Path) -> None:
        self._container = stack.enter_context(opened(path))
        stream: Any = audio_of(self._container)
        self.stream = stream
        only(self._container, stream)
        self._packets: Iterator[Any] | None = None
        self._held: list[Any] = []

    def between(self, start: Fraction, stop: Fraction | None) -> list[Any]:
        """The packets that begin nearest to `start` (s) and later, up to those nearest to `stop` or the end."""
        if self._packets is None:
            self._container.seek(max(0, math.floor((start - 1) / self.stream.time_base)), stream=self.stream)
            self._packets = self._container.demux(self.stream)
        found, self._held = self._held, []
        for packet in self._packets:
            if packet.size and self._middle(packet) >= start:
                if stop is not None and self._middle(packet) >= stop:
                    self._held = [packet]
                    break
                found.append(packet)
        return found

    def _middle(self, packet: Any) -> Fraction:
        return Fraction((packet.pts + packet.duration / 2) * packet.time_base)


def _written(
    video: Any, group: Sequence[Any], until: int, shift: int, track: _Track | None, heard: Fraction | None
) -> tuple[bytes, bytes]:
    """One segment by the rule of ticks."""
    ranked = sorted(packet.pts for packet in group)
    begin, out = (ranked[0] - shift) * video.time_base, io.BytesIO()
    ticks = str(video.time_base.denominator)
    options = {
        "movflags": _MUXING,
        "video_track_timescale": ticks,
        "use_editlist": "0",
        "avoid_negative_ts": "disabled",
    }
    with av.open(out, "w", format="mp4", options=options) as container:
        pictures: Any = container.add_stream_from_template(video)
        pictures.codec_context.bit_rate = 0  # a chunk's own would make its initialization another one
        sounds: Any = container.add_stream_from_template(track.stream) if track else None
        packets = [*(_ticked(group, ranked, until, shift, pictures))]
        if track:
            late = round(DELAY * video.time_base / track.stream.time_base)
            packets += [_moved(packet, late, sounds) for packet in track.between(begin, heard)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return split(out.getvalue())


def _ticked(group: Sequence[Any], ranked: list[int], until: int, shift: int, stream: Any) -> Iterator[Any]:
    """The last packet lasts as long as a picture is shown, since players take that for the segment's end."""
    times = [(ranked[i - DELAY] + DELAY if i >= DELAY else ranked[0] + i) - shift for i in range(len(group))]
    lasting = [*(after - dts for dts, after in pairwise(times)), until - ranked[-1]]
    for packet, dts, duration in zip(group, times, lasting, strict=True):
        packet.pts, packet.dts, packet.duration = packet.pts + DELAY - shift, dts, duration
        packet.stream = stream
        yield packet


def _moved(packet: Any, ticks: int, stream: Any) -> Any:
    packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
    return packet


@dataclass(frozen=True)
class Entry:
    """A segment in a playlist: URLs of its file and its initialization; its place in the file where it has others."""

    url: str
    init: str
    seconds: float
    place: tuple[int, int] | None = None


def event_playlist(entries: Sequence[Entry], ended: bool) -> str:
    """A media playlist of type EVENT (RFC 8216, 4.3.3.5): it only grows, and says when it has ended."""
    longest = max([TARGET_S, *(round(entry.seconds) for entry in entries[:1])])
    head = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{longest}", "#EXT-X-MEDIA-SEQUENCE:0"]
    lines = [*head, "#EXT-X-PLAYLIST-TYPE:EVENT", "#EXT-X-INDEPENDENT-SEGMENTS"]
    init = ""
    for entry in entries:
        if entry.init != init:
            lines += ["#EXT-X-DISCONTINUITY"] if init else []
            lines.append(f'#EXT-X-MAP:URI="{entry.init}"')
            init = entry.init
        lines.append(f"#EXTINF:{entry.seconds:.6f},")
        lines += [f"#EXT-X-BYTERANGE:{entry.place[1]}@{entry.place[0]}"] if entry.place else []
        lines.append(entry.url)
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""])
