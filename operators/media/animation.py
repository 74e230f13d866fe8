"""An animated GIF, WebP, PNG or AVIF as an H.264 clip with its frames' own times, and a poster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from PIL import Image, ImageFile, ImageStat

from operators.media import h273
from operators.media.colour import eight_bit, to_srgb
from operators.media.image import MOST_FRAMES, limit_pixels, opened
from operators.media.webp import MadeFile, made_file, save_jpeg
from schemas.errors import AssetError
from schemas.pipelines import ClipParams, Limits

# browsers show a frame that asks for 10 ms or less for 100 ms
_SHORTEST_MS, _USUAL_MS = 11, 100
_TICKS = Fraction(1, 1000)
_KEY_EVERY = 250
_FLAT = 8.0
_POSTER_QUALITY = 85
Size = tuple[int, int]


@dataclass(frozen=True)
class Clip:
    """`files` are the clip and the poster; `loops` how often it is to be played, 0 for without end."""

    files: tuple[MadeFile, ...]
    frames: int
    duration_ms: int
    loops: int


def loops_of(image: ImageFile.ImageFile) -> int:
    """How often the frames are to be shown, 0 for without end. A GIF counts the repeats after the first time."""
    loop = image.info.get("loop")
    if image.format == "GIF":
        return 1 if loop is None else 0 if loop == 0 else int(loop) + 1
    return 0 if loop is None else int(loop)


def _frames(image: ImageFile.ImageFile, limits: Limits) -> Iterator[tuple[Image.Image, int]]:
    """Each frame in sRGB on white, and how long it is shown (ms). Raises too_long."""
    total = 0
    for place in range(MOST_FRAMES):
        try:
            image.seek(place)
        except EOFError:
            return
        limit_pixels(image, limits)
        image.load()
        shown = int(image.info.get("duration") or 0)
        shown = shown if shown >= _SHORTEST_MS else _USUAL_MS
        total += shown
        if total > limits.seconds * 1000:
            raise AssetError("too_long", f"over {limits.seconds} s")
        yield _on_white(to_srgb(eight_bit(image), image.info.get("icc_profile"))), shown


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _even(size: Size, height: int) -> Size:
    """The size with a shorter side of at most `height`, and both sides even, as 4:2:0 needs them."""
    factor = min(1.0, height / min(size))
    return max(2, round(size[0] * factor / 2) * 2), max(2, round(size[1] * factor / 2) * 2)


class _Encoder:
    """An MP4 with variable frame rate in ticks of a millisecond, its index at the front."""

    def __init__(self, path: Path, size: Size, params: ClipParams) -> None:
        options = {"video_track_timescale": "1000", "movie_timescale": "1000", "movflags": "+faststart"}
        self._container = av.open(str(path), "w", format="mp4", options=options)
        # without B-pictures the last frame is the last one stored, whose duration ends the track
        settings = {"preset": params.preset, "crf": str(params.crf), "profile": "high", "bf": "0"}
        stream: Any = self._container.add_stream("libx264", rate=25, options=settings)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.gop_size, stream.thread_count = _KEY_EVERY, 1
        stream.codec_context.time_base = _TICKS
        h273.tag(stream.codec_context)
        self._stream, self._size, self._scaler = stream, size, VideoReformatter()
        self._pts = self.frames = 0
        self._durations: dict[int, int] = {}

    def write(self, picture: Image.Image, duration_ms: int) -> None:
        """One picture, shown for so long."""
        frame = self._scaler.reformat(
            av.VideoFrame.from_image(picture), *self._size, "yuv420p", src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG, dst_colorspace=Colorspace.ITU709, interpolation=Interpolation.BICUBIC,
            threads=1,
        )  # fmt: skip
        frame.pts, frame.time_base = self._pts, _TICKS
        self._durations[self._pts] = duration_ms
        self._pts, self.frames = self._pts + duration_ms, self.frames + 1
        self._mux(self._stream.encode(frame))

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            # the encoder knows no frame's own duration, which the last one's end depends on
            packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)

    def close(self) -> int:
        """Ends the file; returns its length in ms."""
        self._mux(self._stream.encode(None))
        self._container.close()
        return self._pts


def _shows(picture: Image.Image) -> bool:
    return ImageStat.Stat(picture.convert("L")).stddev[0] > _FLAT


def render_clip(path: Path, out_dir: Path, params: ClipParams, limits: Limits) -> Clip:
    """`clip.mp4`, on white where it is transparent, and `poster.jpg`, the first frame that shows something.

    Raises too_long, too_many_pixels, truncated, corrupt_image.
    """
    clip, poster, first = out_dir / "clip.mp4", None, None
    with opened(path, limits) as image:
        size = _even(image.size, params.height)
        encoder = _Encoder(clip, size, params)
        for picture, shown in _frames(image, limits):
            encoder.write(picture, shown)
            first = first or picture
            poster = poster or (picture if _shows(picture) else None)
        loops, length = loops_of(image), encoder.close()
    assert first is not None
    files = (
        made_file(clip, "clip", "video/mp4", size, 0),
        save_jpeg((poster or first), out_dir / "poster.jpg", "poster", _POSTER_QUALITY),
    )
    return Clip(files, encoder.frames, length, loops)
