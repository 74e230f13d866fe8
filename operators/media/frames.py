"""The pictures of one chunk, in the order they are shown: exact ranges of pts, and damage is an error."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from operators.media.plan import Filters
from operators.media.source import corrupt, only, opened, packets_of, strict, video_of
from schemas.errors import AssetError

_BACK_S = (0, 1, 2, 5, 10, 30)


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
        strict(video)
        if keys_only:
            video.codec_context.skip_frame = "NONKEY"
        if start is not None:
            _land_before(container, video, start)
        for frame in _frames(container, video, start, stop):
            if stop is not None and frame.pts >= stop:
                return
            if start is None or frame.pts >= start:
                yield frame


def _land_before(container: InputContainer, video: Any, start: int) -> None:
    """Seeks to a key frame at or before start; MPEG-TS and others without an index may land after it."""
    second = round(1 / video.time_base)
    begin = (video.start_time or 0) - second
    for target in (*(start - back * second for back in _BACK_S), begin):
        container.seek(target, stream=video)
        packets = container.demux(video)
        first = next((p for p in packets if p.size and p.is_keyframe), None)
        if first is not None and first.pts is not None and first.pts <= start:
            container.seek(target, stream=video)
            return
    raise corrupt("video", start * video.time_base, "no key frame at or before this time")


def _frames(container: InputContainer, video: Any, start: int | None, stop: int | None) -> Iterator[Any]:
    """Decoded frames with rising pts; errors outside [start, stop) are another chunk's, or nobody's."""
    floor, last = start, None
    try:
        for packet in packets_of(container, video):
            if floor is None and packet.is_keyframe:
                floor = packet.pts
            for frame in _of_packet(packet, floor, stop):
                last = frame.pts = _rising(frame, last)
                yield frame
    except av.FFmpegError as error:
        raise corrupt("video", None if last is None else last * video.time_base, error) from error


def _of_packet(packet: Any, floor: int | None, stop: int | None) -> list[Any]:
    try:
        return list(packet.decode())
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
        self._graph: Any = None
        self._shape: tuple[Any, ...] = ()
        self._waiting: deque[int] = deque()

    def push(self, frame: Any) -> Iterator[Any]:
        """Yields the frames that are ready; deinterlacing holds one back."""
        if not self._filters:
            yield frame
            return
        shape = (frame.width, frame.height, frame.format.name)
        if shape != self._shape:
            yield from self.flush()
            self._graph, self._shape = self._built(frame), shape
        self._waiting.append(frame.pts)
        self._graph.vpush(frame)
        yield from self._ready()

    def flush(self) -> Iterator[Any]:
        """Yields what was held back."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._ready()

    def _built(self, frame: Any) -> Any:
        graph = av.filter.Graph()
        graph.threads = 1
        last = graph.add(
            "buffer",
            video_size=f"{frame.width}x{frame.height}",
            pix_fmt=frame.format.name,
            time_base=str(self._time_base),
            colorspace=str(int(frame.colorspace)),
            range=str(int(frame.color_range)),
        )
        for name, arguments in self._filters:
            step = graph.add(name, arguments or None)
            last.link_to(step)
            last = step
        last.link_to(graph.add("buffersink"))
        graph.configure()
        return graph

    def _ready(self) -> Iterator[Any]:
        while True:
            try:
                frame = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            frame.pts, frame.time_base = self._waiting.popleft(), self._time_base
            yield frame
