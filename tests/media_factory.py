"""Clips with known properties: every picture carries its number, every sound its samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

BITS = 10
SIZE = (320, 180)
RATE = 48_000
# quick settings by encoder; those of x264 are completed by a clip's own
_OPTIONS = {
    "libx264": {"preset": "ultrafast", "crf": "18"},
    "libx265": {"preset": "ultrafast", "crf": "18", "x265-params": "log-level=none:bframes=2"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20"},
    "libsvtav1": {"preset": "10", "crf": "20", "svtav1-params": "lp=1"},
    "mpeg4": {"qscale": "3", "bf": "2"},
}


def numbered(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A grey picture (height, width, 3) whose top shows `number` as ten black or white bars."""
    width, height = size
    picture = np.full((height, width, 3), 90, np.uint8)
    bar = width // BITS
    for bit in range(BITS):
        picture[: height // 2, bit * bar : (bit + 1) * bar] = 235 if number >> bit & 1 else 20
    return picture


def number_of(frame: Any, turns: int = 0) -> int:
    """The number that a picture shows after it was turned by so many quarters, counterclockwise."""
    luma = np.rot90(frame.reformat(format="gray").to_ndarray(), turns)
    row = luma[luma.shape[0] // 4]
    bar = len(row) / BITS
    return sum(int(row[int((bit + 0.5) * bar)] > 128) << bit for bit in range(BITS))


def shown(path: Path, turns: int = 0) -> list[tuple[Fraction, int]]:
    """(time in s, number) of every picture of a file."""
    with av.open(str(path)) as container:
        frames = container.decode(container.streams.video[0])
        return [(frame.pts * frame.time_base, number_of(frame, turns)) for frame in frames]


@dataclass(frozen=True)
class Clip:
    """How a clip is made. `pts` in ticks of `time_base`; `x264` are x264's own parameters; the channels of `audio`
    lie as `layout` says.
    """

    pts: Sequence[int] = tuple(range(96))
    time_base: Fraction = Fraction(1, 24)
    size: tuple[int, int] = SIZE
    codec: str = "libx264"
    gop: int = 12
    x264: str = "bframes=2:b-adapt=0:scenecut=0"
    pixel_format: str = "yuv420p"
    tags: tuple[int, int, int] = (1, 1, 1)
    full_range: bool = False
    rotation: int | None = None
    pixel_aspect: str | None = None
    interlaced: bool = False
    audio: np.ndarray | None = None
    sound_codec: str = "aac"
    layout: str = "stereo"
    audio_start: Fraction = Fraction(0)
    colour: tuple[int, int, int] | None = None


def write(path: Path, clip: Clip = Clip()) -> Path:
    """Writes a clip; the container follows the file's name."""
    with av.open(str(path), "w") as container:
        stream = _video_stream(container, clip)
        sound = (
            container.add_stream(clip.sound_codec, rate=RATE, layout=clip.layout) if clip.audio is not None else None
        )
        if sound is not None and clip.sound_codec.startswith("wma"):
            sound.bit_rate = 128_000
        for number, pts in enumerate(clip.pts):
            container.mux(stream.encode(_picture(clip, number, pts)))
        container.mux(stream.encode(None))
        if sound is not None and clip.audio is not None:
            for frame in sound_frames(clip.audio, clip.layout, round(clip.audio_start * RATE)):
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def _video_stream(container: Any, clip: Clip) -> Any:
    options = dict(_OPTIONS.get(clip.codec, {}))
    if clip.codec == "libx264":
        options["x264-params"] = clip.x264
    if clip.interlaced:
        options["flags"] = "+ilme+ildct"
    stream = container.add_stream(clip.codec, rate=24, options=options)
    stream.width, stream.height = clip.size
    stream.pix_fmt, stream.gop_size, stream.thread_count = clip.pixel_format, clip.gop, 1
    context = stream.codec_context
    context.time_base = clip.time_base
    context.color_primaries, context.color_trc, context.colorspace = clip.tags
    context.color_range = 2 if clip.full_range else 1
    if clip.pixel_aspect:
        context.sample_aspect_ratio = Fraction(clip.pixel_aspect)
    if clip.rotation is not None:
        stream.set_display_rotation(clip.rotation)
    return stream


def _picture(clip: Clip, number: int, pts: int) -> Any:
    rgb = numbered(number, clip.size)
    if clip.colour is not None:
        rgb[:] = clip.colour
    matrix = {1: 1, 5: 5, 6: 5, 9: 9}.get(clip.tags[2], 5)
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
        format=clip.pixel_format, dst_colorspace=matrix, dst_color_range=2 if clip.full_range else 1
    )
    frame.pts, frame.time_base, frame.pict_type = pts, clip.time_base, 0
    return frame


def sound_frames(samples: np.ndarray, layout: str, start: int = 0, rate: int = RATE) -> Any:
    """flt frames of samples of shape (channels, n), with pts from `start` samples."""
    for at in range(0, samples.shape[1], 1024):
        block = np.ascontiguousarray(samples[:, at : at + 1024].T, np.float32)
        frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), "flt", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start + at, Fraction(1, rate)
        yield frame


def write_sound(path: Path, samples: np.ndarray, layout: str = "stereo", codec: str = "pcm_f32le") -> Path:
    """Writes samples of shape (channels, n) at 48 kHz; the container follows the file's name."""
    return write_tracks(path, [samples], layout, codec)


def write_tracks(path: Path, tracks: Sequence[np.ndarray], layout: str = "stereo", codec: str = "flac") -> Path:
    """The same of several tracks."""
    with av.open(str(path), "w") as container:
        streams: list[Any] = [container.add_stream(codec, rate=RATE, layout=layout) for _ in tracks]
        for stream, samples in zip(streams, tracks, strict=True):
            resampler = av.AudioResampler(stream.format, layout, RATE)
            for frame in sound_frames(samples, layout):
                for ready in resampler.resample(frame):
                    container.mux(stream.encode(ready))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def clicked(path: Path) -> float:
    """When the click in a sound begins, in seconds."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.audio[0]))
    sound = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    first = float(frames[0].pts * frames[0].time_base)
    return first + int(np.argmax(np.abs(sound) > 0.6 * np.abs(sound).max())) / RATE


def copy(source: Path, path: Path, skip: int = 0, shift: int = 0, **options: str) -> Path:
    """Copies the video's packets but the first `skip`, `shift` ticks earlier; before 0 makes an edit list."""
    with av.open(str(source)) as old, av.open(str(path), "w", options=options) as new:
        video = old.streams.video[0]
        stream = new.add_stream_from_template(video)
        packets = [packet for packet in old.demux(video) if packet.size]
        for packet in packets[skip:]:
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
            new.mux(packet)
    return path


def write_with_cover(path: Path, samples: np.ndarray) -> Path:
    """An M4A with cover art."""
    with av.open(str(path), "w", format="mp4") as container:
        sound: Any = container.add_stream("aac", rate=RATE, layout="stereo")
        cover: Any = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(numbered(5, (64, 64)), "rgb24").reformat(format="yuvj420p")
        picture.pts = 0
        container.mux(cover.encode(picture))
        container.mux(cover.encode(None))
        for frame in sound_frames(samples, "stereo"):
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def tone(seconds: float, level: float, hertz: float = 997.0, channels: int = 2) -> np.ndarray:
    """A sine of amplitude `level`, shape (channels, n)."""
    t = np.arange(round(seconds * RATE)) / RATE
    return np.tile(level * np.sin(2 * np.pi * hertz * t), (channels, 1))


def noise(seconds: float, level: float, channels: int = 2, seed: int = 1) -> np.ndarray:
    """Noise that falls with frequency, like music; RMS `level`, shape (channels, n)."""
    count = round(seconds * RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal((channels, count)))
    spectrum /= np.sqrt(np.maximum(20, np.fft.rfftfreq(count, 1 / RATE)))
    samples = np.fft.irfft(spectrum, count)
    return samples / np.sqrt((samples**2).mean()) * level
