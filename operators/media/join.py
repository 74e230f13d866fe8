"""Chunks that were encoded apart, and audio made in one piece, to one MP4: packets are only copied."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from operators.media.source import UNDECODED, audio_of, corrupt, only, opened, origin_of, video_of
from schemas.errors import AssetError

_Times = tuple[np.ndarray, int]


def join(
    chunks: Sequence[Path | str], audio: Path | str | None, out: Path | str, origin: Fraction = Fraction(0)
) -> None:
    """Writes one faststart MP4 of the chunks in order and the audio (an MP4 whose zero is the asset's).

    `origin` (s) is the asset's zero on the chunks' clock. Memory: 16 bytes a picture. Errors: corrupt_media
    if two chunks hold the same picture or were encoded differently.
    """
    with ExitStack() as stack:
        first = stack.enter_context(opened(chunks[0]))
        template: Any = video_of(first)
        shift = round(origin / template.time_base)
        sink = _Sink(stack, out, template, audio)
        sink.mux(_with_dts(chunks, _times(chunks), template.codec_context.extradata, shift))


def remux(path: Path | str, out: Path | str, audio: Path | str | None = None) -> None:
    """Copies a web-friendly source's first video and audio track to a faststart MP4; no tags, no other track.

    `audio` replaces its sound. Errors: no_media_stream, corrupt_media.
    """
    with ExitStack() as stack:
        source = stack.enter_context(opened(path))
        video = video_of(source)
        if video is None:
            raise AssetError("no_media_stream", "no video track")
        only(source, video)
        origin = origin_of(source)
        own = audio is None and audio_of(source) is not None
        sink = _Sink(stack, out, video, path if own else audio, origin if own else Fraction(0))
        sink.mux(_shifted(source.demux(video), round(origin / video.time_base)))


class _Sink:
    """An MP4 with a video track and at most one audio track, written in the order of time."""

    def __init__(
        self,
        stack: ExitStack,
        out: Path | str,
        video: Any,
        audio: Path | str | None,
        audio_origin: Fraction = Fraction(0),
    ) -> None:
        ticks = str(video.time_base.denominator)
        options = {
            "movflags": "+faststart",
            "video_track_timescale": ticks,
            "movie_timescale": ticks,
        }
        self._out = stack.enter_context(av.open(str(out), "w", format="mp4", options=options))
        # opaque: a decoder may have another name than the codec, such as libdav1d
        self._video: Any = self._out.add_stream_from_template(video, opaque=True)
        if video.codec_context.name == "hevc":
            self._video.codec_context.codec_tag = "hvc1"
        self._video.metadata.clear()
        self._audio, self._sounds = self._opened(stack, audio, audio_origin)

    def _opened(self, stack: ExitStack, path: Path | str | None, origin: Fraction) -> tuple[Any, Iterator[Any]]:
        if path is None:
            return None, iter(())
        container = stack.enter_context(opened(path))
        track = audio_of(container)
        if track is None:
            raise AssetError("no_media_stream", "no audio track")
        only(container, track)
        stream: Any = self._out.add_stream_from_template(track)
        stream.metadata.clear()
        return stream, _shifted(container.demux(track), round(origin / track.time_base))

    def mux(self, pictures: Iterator[Any]) -> None:
        """Interleaves both tracks by decode time."""
        sound = next(self._sounds, None)
        for picture in pictures:
            due = picture.dts * picture.time_base
            while sound is not None and sound.dts * sound.time_base <= due:
                self._put(sound, self._audio)
                sound = next(self._sounds, None)
            self._put(picture, self._video)
        while sound is not None:
            self._put(sound, self._audio)
            sound = next(self._sounds, None)

    def _put(self, packet: Any, stream: Any) -> None:
        packet.stream = stream
        self._out.mux(packet)


def _shifted(packets: Iterator[Any], ticks: int) -> Iterator[Any]:
    try:
        for packet in packets:
            if packet.size:
                packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
                yield packet
    except (av.FFmpegError, TypeError) as error:
        raise corrupt("media", None, error) from error


def _packets(chunks: Sequence[Path | str], check: Callable[[Any], None]) -> Iterator[Any]:
    for chunk in chunks:
        with opened(chunk, **UNDECODED) as container:
            video = video_of(container)
            check(video)
            yield from (packet for packet in container.demux(video) if packet.size)


def _times(chunks: Sequence[Path | str]) -> _Times:
    """Sorted pts of all pictures, and by how many places decoding runs ahead of showing."""
    in_order = array("q", (packet.pts for packet in _packets(chunks, lambda _: None)))
    pts = np.frombuffer(in_order, np.int64)
    ranked = np.sort(pts)
    if len(ranked) > 1 and not np.diff(ranked).all():
        raise AssetError("corrupt_media", "two pictures share a time: chunk borders overlap")
    return ranked, int((np.arange(len(pts)) - np.searchsorted(ranked, pts)).max(initial=0))


def _with_dts(chunks: Sequence[Path | str], times: _Times, headers: bytes | None, shift: int) -> Iterator[Any]:
    """The chunks' packets in decode order with dts[i] = sorted(pts)[i - delay].

    Every chunk is closed, so decode order is their concatenation; but each encoder guessed its first dts from
    the spacing of its own first pictures, and at variable frame rate two guesses can overlap at a seam.
    """
    ranked, delay = times
    step = int(ranked[1] - ranked[0]) if len(ranked) > 1 else 1

    def same(video: Any) -> None:
        if video.codec_context.extradata != headers:
            raise AssetError("corrupt_media", "chunks were encoded with different settings")

    for i, packet in enumerate(_packets(chunks, same)):
        place = int(np.searchsorted(ranked, packet.pts))
        early = int(ranked[0]) - (delay - i) * step
        packet.dts = (int(ranked[i - delay]) if i >= delay else early) - shift
        if place + 1 < len(ranked):
            packet.duration = int(ranked[place + 1]) - packet.pts
        packet.pts -= shift
        yield packet
