"""The pictures of one chunk, in the order they are shown: exact ranges of pts, and damage is an error."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from operators.media import h273
from operators.media.filters import Filters
from operators.media.source import UNORDERED, corrupt, only, opened, packets_of, strict, video_of
from operators.media.tonemap import Volume, table
from schemas.errors import AssetError

_BACK_S = (0, 1, 2, 5, 10, 30)
# haldclut of libavfilter 11.14 puts blue, red and green where planar RGB has green, blue and red
_ORDER = "2:0:1"


def decoded(path: Path | str, start: int | None, stop: int | None, keys_only: bool = False) -> Iterator[Any]:
    """Yields frames with start <= pts < stop, as stored; `start` is a key frame's pts in the stream's ticks.

    With `keys_only` key frames alone, a tenth of the work.

    Pictures that lead an open GOP's key frame are shown before it: they belong to the chunk before, which
    reads past its own end to find them. Errors: no_media_stream, corrupt_media (with the time).
    """
    with opened(path) as container:
        video = video_of(container)
        if video is None:
            raise AssetError("no_media_stream", "no video track")
        only(container, video)
        decoder = strict(video)
        if keys_only:
            decoder.skip_frame = "NONKEY"
        if start is not None:
            _land_before(container, video, start)
        for frame in _frames(container, video, decoder, start, stop):
            if stop is not None and frame.pts >= stop:
                return
            if start is None or frame.pts >= start:
                yield frame


def _land_before(container: InputContainer, video: Any, start: int) -> None:
    """Seeks to a key frame at or before start; MPEG-TS and others without an index may land after it.

    Before an open GOP's key frame at start: pictures behind it let go of references from before it (H.264's memory
    management), and where these were never decoded that is damage to the decoder.
    """
    second = round(1 / video.time_base)
    begin = (video.start_time or 0) - second
    for target in (*(start - back * second for back in _BACK_S), begin):
        container.seek(target, stream=video)
        packets = (packet for packet in container.demux(video) if packet.size)
        first = next((packet for packet in packets if packet.is_keyframe), None)
        if first is None or first.pts is None or first.pts > start:
            continue
        if first.pts < start or not _is_led(first, next(packets, None)):
            container.seek(target, stream=video)
            return
    raise corrupt("video", start * video.time_base, "no key frame at or before this time")


def _is_led(key: Any, after: Any) -> bool:
    """Whether pictures that are decoded after a key frame are shown before it: its GOP is open."""
    return after is not None and after.pts is not None and after.pts < key.pts


def _frames(container: InputContainer, video: Any, decoder: Any, start: int | None, stop: int | None) -> Iterator[Any]:
    """Decoded frames with rising pts; errors outside [start, stop) are another chunk's, or nobody's.

    Where packets have the times of their order in the file, the pictures take these in the order they are shown.
    """
    floor, last = start, None
    unordered, due = container.format.name in UNORDERED, list[int]()
    try:
        for packet in packets_of(container, video):
            if floor is None and packet.is_keyframe:
                floor = packet.pts
            if unordered and packet.size and packet.pts is not None:
                heappush(due, packet.pts)
            for frame in _of_packet(decoder, packet, floor, stop):
                if unordered and due:
                    frame.pts = heappop(due)
                last = frame.pts = _rising(frame, last)
                yield frame
    except av.FFmpegError as error:
        raise corrupt("video", None if last is None else last * video.time_base, error) from error


def _of_packet(decoder: Any, packet: Any, floor: int | None, stop: int | None) -> list[Any]:
    try:
        return list(decoder.decode(packet if packet.size else None))
    except av.FFmpegError as error:
        pts = packet.pts
        before = None not in (pts, floor) and pts < floor
        after = None not in (pts, stop) and pts >= stop
        if before or after:
            return []
        raise corrupt("video", None if pts is None else pts * packet.time_base, error) from error


def _rising(frame: Any, last: int | None) -> int:
    """The frame's pts; one that repeats is moved by a tick, since two pictures cannot share a time."""
    pts = frame.pts if frame.pts is not None else frame.dts
    if pts is None:
        raise corrupt("video", None, "a picture has no time")
    return int(pts) if last is None else max(int(pts), last + 1)


class Upright:
    """Runs frames through a plan's filters, or passes them on where there is none; times stay."""

    def __init__(self, filters: Filters, time_base: Fraction) -> None:
        self._filters, self._time_base = filters, time_base
        self._graph: _Chain | None = None
        self._shape: tuple[Any, ...] = ()
        self._waiting: deque[int] = deque()

    def push(self, frame: Any) -> Iterator[Any]:
        """Yields the frames that are ready; deinterlacing holds one back."""
        if not self._filters:
            yield frame
            return
        shape = (frame.width, frame.height, frame.format.name)
        if self._graph is None or shape != self._shape:
            yield from self.flush()
            self._graph, self._shape = _Chain(frame, self._filters, self._time_base), shape
        self._waiting.append(frame.pts)
        self._graph.push(frame)
        yield from self._ready()

    def flush(self) -> Iterator[Any]:
        """Yields what was held back."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._ready()

    def _ready(self) -> Iterator[Any]:
        assert self._graph is not None
        for frame in self._graph.pull():
            frame.pts, frame.time_base = self._waiting.popleft(), self._time_base
            yield frame


class _Chain:
    """A filter graph with one input and one output, for pictures like the first."""

    def __init__(self, frame: Any, filters: Filters, time_base: Fraction) -> None:
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        self._tables: list[tuple[Any, Volume]] = []
        tags = (int(frame.colorspace), int(frame.color_range))
        self._source = last = self._input((frame.width, frame.height), frame.format.name, time_base, *tags)
        for step in filters:
            last = self._mapped(last, step) if isinstance(step, Volume) else self._linked(last, *step)
        self._linked(last, "buffersink", "")
        self._graph.configure()
        for source, volume in self._tables:
            source.push(_image(volume))
            source.push(None)

    def push(self, frame: Any | None) -> None:
        """Takes a picture; None is the end."""
        self._source.push(frame)

    def pull(self) -> Iterator[Any]:
        """Yields what is ready."""
        while True:
            try:
                yield self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return

    def _input(self, size: tuple[int, int], pixels: str, time_base: Fraction, matrix: int, levels: int) -> Any:
        return self._graph.add(
            "buffer",
            video_size=f"{size[0]}x{size[1]}",
            pix_fmt=pixels,
            time_base=str(time_base),
            colorspace=str(matrix),
            range=str(levels),
        )

    def _linked(self, last: Any, name: str, arguments: str) -> Any:
        step = self._graph.add(name, arguments or None)
        last.link_to(step)
        return step

    def _mapped(self, last: Any, volume: Volume) -> Any:
        source = self._input(table(volume).shape[:2], "gbrp16le", Fraction(1), h273.RGB_MATRIX, h273.FULL)
        step = self._linked(last, "haldclut", "interp=tetrahedral:clut=first")
        source.link_to(step, 0, 1)
        self._tables.append((source, volume))
        ordered = self._linked(step, "shuffleplanes", _ORDER)
        # else the pictures' own tags would still be the source's, and an encoder might believe them
        return self._linked(ordered, "setparams", "color_primaries=bt709:color_trc=bt709")


def _image(volume: Volume) -> Any:
    image = av.VideoFrame.from_ndarray(table(volume), "gbrp16le")
    image.pts, image.time_base = 0, Fraction(1)
    return image
