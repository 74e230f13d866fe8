"""Encoding pictures in memory, and how much like the reference they look then (XPSNR)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
from av.video.frame import PictureType
from av.video.reformatter import Interpolation, VideoReformatter

_WEIGHTS = {"y": 6, "u": 1, "v": 1}
_BEST_DB = 60.0
# Measuring costs more than a small encode; neighbours look alike.
EVERY = 6


def scaled(pictures: Iterable[Any], size: tuple[int, int]) -> Iterator[Any]:
    """The pictures as 8-bit 4:2:0 of (width, height)."""
    scaler = VideoReformatter()
    for picture in pictures:
        yield scaler.reformat(picture, *size, "yuv420p", interpolation=Interpolation.BICUBIC, threads=1)


def coded(pictures: Iterable[Any], rate: Fraction, crf: int, preset: str) -> tuple[list[int], list[Any]]:
    """Sizes (bytes) of the packets of an H.264 encode, and each sixth picture decoded; one thread."""
    encoder: Any = None
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    sizes: list[int] = []
    shown: list[Any] = []
    count = 0

    def show(decoded: Iterable[Any]) -> None:
        nonlocal count
        for one in decoded:
            if count % EVERY == 0:
                shown.append(one)
            count += 1

    def take(packets: Iterable[Any]) -> None:
        for packet in packets:
            sizes.append(packet.size)
            show(decoder.decode(packet))

    for number, picture in enumerate(pictures):
        encoder = encoder or _encoder(picture, rate, crf, preset)
        picture.pts, picture.time_base, picture.pict_type = number, 1 / rate, PictureType.NONE
        take(encoder.encode(picture))
    take(encoder.encode(None))
    show(decoder.decode(None))
    return sizes, shown


def _encoder(picture: Any, rate: Fraction, crf: int, preset: str) -> Any:
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.thread_count = 1 / rate, rate, 1
    encoder.options = {"preset": preset, "crf": str(crf), "profile": "high"}
    return encoder


def xpsnr(reference: Sequence[Any], pictures: Sequence[Any]) -> float:
    """The mean XPSNR (dB) of pictures, scaled up to the reference's size, over luma and chroma 6:1:1."""
    size = reference[0].width, reference[0].height
    graph = _Comparison(size)
    found = [graph.of(a, b) for a, b in zip(reference, scaled(pictures, size), strict=True)]
    return sum(found) / len(found)


class _Comparison:
    """FFmpeg's filter xpsnr, picture by picture."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._graph, self._count = av.filter.Graph(), 0
        self._graph.threads = 1
        shape = f"video_size={size[0]}x{size[1]}:pix_fmt=yuv420p:time_base=1/1"
        self._inputs = [self._graph.add("buffer", shape) for _ in range(2)]
        compare = self._graph.add("xpsnr")
        for place, source in enumerate(self._inputs):
            source.link_to(compare, 0, place)
        compare.link_to(self._graph.add("buffersink"))
        self._graph.configure()

    def of(self, reference: Any, picture: Any) -> float:
        """dB, no more than a difference that nobody sees."""
        for source, frame in zip(self._inputs, (reference, picture), strict=True):
            frame.pts, frame.time_base = self._count, Fraction(1)
            source.push(frame)
        self._count += 1
        seen = self._graph.vpull().metadata
        planes = ((weight, float(seen[f"lavfi.xpsnr.xpsnr.{plane}"])) for plane, weight in _WEIGHTS.items())
        return sum(weight * min(db, _BEST_DB) for weight, db in planes) / sum(_WEIGHTS.values())
