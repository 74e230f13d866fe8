"""A rendition's chunks, or an audio track, to one fragmented MP4 that is cut into segments."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from operators.media.hls_codecs import codec_string, video_range
from operators.media.hls_fragments import Samples, closed_keys, init_segment, spans_of, write_fragment
from operators.media.hls_playlists import Label, Media, Picture, Piece, Sound
from operators.media.source import UNDECODED, audio_of, corrupt, only, opened, video_of
from schemas.errors import AssetError

PREFIX = "hls"


@dataclass(frozen=True)
class Rung:
    """A rendition's chunks in order, with their common clock; `origin` (s) is the asset's zero on it.

    One that `may_go` is left out where it has too few key frames in common with the others.
    """

    name: str
    chunks: tuple[Path, ...]
    origin: Fraction = Fraction(0)
    may_go: bool = False


@dataclass(frozen=True)
class Track:
    """An MP4 of one audio track, whose zero is the asset's."""

    name: str
    path: Path
    label: Label


class VideoTrack:
    """A rendition's pictures, read twice: their times and sizes, then their bytes."""

    def __init__(self, stack: ExitStack, rung: Rung, seconds: float) -> None:
        self.rung = rung
        self._stream: Any = video_of(stack.enter_context(opened(rung.chunks[0])))
        if self._stream is None:
            raise AssetError("no_media_stream", "no video track")
        self.time_base: Fraction = self._stream.time_base
        self.hidden = False
        self.samples = self._read(round(rung.origin / self.time_base), seconds)
        self.keys = {int(self.samples.pts[i]): int(i) for i in closed_keys(self.samples)}

    def _read(self, origin: int, seconds: float) -> Samples:
        pts, size, key = array("q"), array("q"), array("b")
        for packet in self._packets():
            if packet.pts is None:
                raise corrupt("video", None, "a picture has no time")
            pts.append(packet.pts - origin)
            size.append(packet.size)
            key.append(packet.is_keyframe)
            self.hidden |= packet.is_discard
        times = np.frombuffer(pts, np.int64)
        if len(np.unique(times)) < len(times):
            raise AssetError("corrupt_media", "two pictures share a time: chunk borders overlap")
        end = max(round(Fraction(seconds) / self.time_base), int(times.max()) + 1)
        return Samples(times, np.frombuffer(size, np.int64), np.frombuffer(key, np.int8) > 0, end)

    def _packets(self) -> Iterator[Any]:
        wanted = self._stream.codec_context.extradata
        own: dict[str, str] = {} if self.rung.may_go else UNDECODED
        for chunk in self.rung.chunks:
            with opened(chunk, **own) as container:
                video = video_of(container)
                if video is None or video.codec_context.extradata != wanted:
                    raise AssetError("corrupt_media", "chunks were encoded with different settings")
                only(container, video)
                yield from (packet for packet in container.demux(video) if packet.size)

    def write(self, folder: Path, borders: Sequence[int], shift: Fraction, rate: Fraction) -> Picture:
        """The rendition's file, of segments that begin at these times (ticks); all is `shift` seconds later."""
        name = f"{PREFIX}-{self.rung.name}"
        file = f"{name}-media.mp4"
        keys = sorted(self.keys.values())
        with (folder / file).open("wb") as out:
            head = out.write(init_segment(self._stream, self.samples.lead))
            writer = _Writer(
                out, self.samples, self.time_base, self.samples.lead + round(shift / self.time_base), self._packets()
            )
            segments = [
                writer.segment(span, keys)
                for span in spans_of([self.keys[border] for border in borders], len(self.samples.pts))
            ]
        media = Media(file, head, tuple(segments), writer.key_frames())
        codecs, size = codec_string(self._stream), (self._stream.codec_context.width, self._stream.codec_context.height)
        return Picture(name, media, codecs, *size, rate, video_range(self._stream))


class SoundTrack:
    """An audio track's packets, read twice as pictures are."""

    def __init__(self, stack: ExitStack, track: Track) -> None:
        self._track = track
        self._stream: Any = audio_of(stack.enter_context(opened(track.path)))
        if self._stream is None:
            raise AssetError("no_media_stream", "no audio track")

    def _packets(self) -> Iterator[Any]:
        with opened(self._track.path) as container:
            stream = audio_of(container)
            assert stream is not None
            only(container, stream)
            yield from (packet for packet in container.demux(stream) if packet.size)

    def _read(self) -> Samples:
        pts, size, lasts = array("q"), array("q"), 0
        for packet in self._packets():
            pts.append(packet.pts)
            size.append(packet.size)
            lasts = packet.duration
        return Samples(
            np.frombuffer(pts, np.int64), np.frombuffer(size, np.int64), np.ones(len(pts), bool), pts[-1] + lasts
        )

    def write(self, folder: Path, clock: Sequence[Fraction], longest: Fraction, shift: Fraction) -> Sound:
        """The track's file, cut at the packets that begin at or next after these times (s).

        What an encoder puts before zero stays, and an edit list hides it.
        """
        name, base, samples = f"{PREFIX}-{self._track.name}", self._stream.time_base, self._read()
        file, early = f"{name}-media.m4a", max(0, -int(samples.pts[0]))
        times = [*clock, *_more(clock[-1], samples.end * base, longest)]
        starts = [0, *(int(np.searchsorted(samples.pts, round(time / base))) for time in times[1:])]
        with (folder / file).open("wb") as out:
            head = out.write(init_segment(self._stream, early))
            writer = _Writer(out, samples, base, early + round(shift / base), self._packets())
            segments = [writer.segment(span, ()) for span in spans_of(starts, len(samples.pts))]
        label = replace(self._track.label, channels=self._stream.codec_context.channels)
        return Sound(name, Media(file, head, tuple(segments)), codec_string(self._stream), label)


def _more(last: Fraction, end: Fraction, step: Fraction) -> list[Fraction]:
    """Cuts after the last border, where the sound goes on for long."""
    return [last + step * i for i in range(1, int((end - last) / step))]


class _Writer:
    """Segments in a row: a key frame is a fragment of its own, so that it can be read alone."""

    def __init__(
        self, out: BinaryIO, samples: Samples, time_base: Fraction, delay: int, packets: Iterator[Any]
    ) -> None:
        self._out, self._samples, self._time_base, self._delay, self._packets = out, samples, time_base, delay, packets
        self._number = 0
        self._keys: list[tuple[int, int, int]] = []

    def segment(self, span: range, keys: Sequence[int]) -> Piece:
        """Writes a segment's samples; `keys` are places of key frames."""
        offset, inside = self._out.tell(), keys[bisect_left(keys, span.start) : bisect_left(keys, span.stop)]
        for fragment in self._fragments(span, inside):
            at = self._out.tell()
            self._number += 1
            data = (bytes(packet) for packet in islice(self._packets, len(fragment)))
            written = write_fragment(self._out, self._number, self._samples, fragment, self._delay, data)
            if fragment.start in inside:
                self._keys.append((int(self._samples.pts[fragment.start]), at, written))
        return Piece(self._shown(span), offset, self._out.tell() - offset)

    def _fragments(self, span: range, keys: Sequence[int]) -> list[range]:
        starts = sorted({span.start, *keys, *(key + 1 for key in keys if key + 1 < span.stop)})
        return [range(a, b) for a, b in pairwise([*starts, span.stop])]

    def _shown(self, span: range) -> Fraction:
        """Seconds from a segment's beginning, or zero, to its end."""
        first, stop = (int(self._samples.shown[place]) for place in (span.start, span.stop))
        return (stop - max(0, first)) * self._time_base

    def key_frames(self) -> tuple[Piece, ...]:
        """Every key frame's fragment, lasting until the next one's."""
        ends = [*(time for time, _, _ in self._keys[1:]), self._samples.end]
        return tuple(
            Piece((end - time) * self._time_base, at, size)
            for (time, at, size), end in zip(self._keys, ends, strict=True)
        )
