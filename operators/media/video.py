"""One decode of a chunk feeds every output: H.264 renditions, storyboard tiles, stills, the poster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from operators.media import h273
from operators.media.frames import Upright, decoded
from operators.media.plan import Encode, RenderPlan

_DARK, _FLAT = 24.0, 8.0
_JPEG = {"format": "JPEG", "quality": 90}
_POSTER = {"format": "JPEG", "quality": 85, "progressive": True}
_TILE = {"format": "PNG", "compress_level": 1}


@dataclass(frozen=True)
class Poster:
    """A candidate: file in the chunk's folder, its time (s), its contrast, and whether it shows enough."""

    file: str
    time: float
    contrast: float
    shows: bool


@dataclass(frozen=True)
class ChunkResult:
    """What a chunk gave. Files are names in the chunk's folder.

    `encodes` by the encode's name, none where the chunk shows no picture; `tiles` by their place in the
    storyboard; `stills` by their time in ms.
    """

    frames: int
    encodes: tuple[tuple[str, str], ...] = ()
    tiles: tuple[tuple[int, str], ...] = ()
    stills: tuple[tuple[int, str], ...] = ()
    posters: tuple[Poster, ...] = ()


def render_chunk(
    path: Path | str, out_dir: Path | str, plan: RenderPlan, start: int | None, stop: int | None
) -> ChunkResult:
    """Renders the pictures with start <= pts < stop (one of `plan.chunks`) into files in `out_dir`.

    One decoder thread and one x264 thread an encode: chunks run beside each other. Memory does not grow with
    the chunk's length. Errors: corrupt_media (with the time), no_media_stream.
    """
    label = "first" if start is None else str(start)
    out = _Outputs(Path(out_dir), label, plan)
    upright = Upright(plan.filters, plan.time_base)
    for frame in decoded(path, start, stop):
        for picture in upright.push(frame):
            out.take(picture)
    for picture in upright.flush():
        out.take(picture)
    return out.close()


class _Encoder:
    """One x264 run into one MP4 whose timestamps are the source's, tick by tick."""

    def __init__(self, path: Path, encode: Encode, plan: RenderPlan) -> None:
        ticks = str(plan.time_base.denominator)
        # The edit list counts in the movie's timescale, 1 ms unless told: that would move every chunk.
        options = {"video_track_timescale": ticks, "movie_timescale": ticks}
        self._container = av.open(str(path), "w", format="mp4", options=options)
        settings = {"preset": encode.preset, "crf": str(encode.crf), "profile": "high"}
        stream: Any = self._container.add_stream("libx264", rate=plan.rate, options=settings)
        stream.width, stream.height, stream.pix_fmt = encode.width, encode.height, "yuv420p"
        stream.gop_size, stream.thread_count, stream.thread_type = encode.gop, 1, "FRAME"
        context = stream.codec_context
        context.time_base = plan.time_base
        context.sample_aspect_ratio = Fraction(1, 1)
        _tag(context, plan.colour)
        self._stream = stream

    def write(self, frame: Any) -> None:
        """Encodes a picture; None flushes."""
        if frame is not None:
            frame.pict_type = 0  # x264 would copy the source's picture types
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self.write(None)
        self._container.close()


def _tag(target: Any, colour: h273.Colour) -> None:
    target.color_primaries, target.color_trc = colour.primaries, colour.transfer
    target.colorspace, target.color_range = colour.matrix, h273.LIMITED


class _Sizes:
    """A picture in the sizes asked for, each made once and from the next larger one."""

    def __init__(self, plan: RenderPlan) -> None:
        self._plan = plan
        # A reformatter that changes its size rebuilds its tables, so there is one for each.
        self._scalers: dict[tuple[Any, ...], VideoReformatter] = {}
        self._made: dict[tuple[int, int], Any] = {}

    def start(self, frame: Any) -> None:
        """Takes the next picture."""
        self._made = {self._plan.base: self._scaled(frame, self._plan.base)}

    def at(self, size: tuple[int, int]) -> Any:
        """The picture as 8-bit 4:2:0."""
        if size not in self._made:
            self._made[size] = self._scaled(self._made[self._plan.base], size)
        return self._made[size]

    def rgb(self, size: tuple[int, int], source: tuple[int, int]) -> Any:
        """The picture as a PIL image, made from its rendition in `source` size."""
        scaler = self._scaler("rgb", size)
        frame = scaler.reformat(
            self.at(source),
            *size,
            "rgb24",
            src_colorspace=self._plan.colour.scaler,
            interpolation=Interpolation.AREA,
            src_color_range=ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )
        return frame.to_image()

    def _scaler(self, *key: Any) -> VideoReformatter:
        return self._scalers.setdefault(key, VideoReformatter())

    def _scaled(self, frame: Any, size: tuple[int, int]) -> Any:
        scaler = self._scaler("yuv", size)
        return scaler.reformat(frame, *size, "yuv420p", interpolation=Interpolation.BICUBIC, threads=1)


class _Outputs:
    """Everything that a chunk's pictures are written to; files leave memory as they are made."""

    def __init__(self, folder: Path, label: str, plan: RenderPlan) -> None:
        self._folder, self._label, self._plan = folder, label, plan
        self._sizes, self._frames = _Sizes(plan), 0
        self._encoders: dict[str, tuple[Encode, _Encoder]] = {}
        self._tiles: list[tuple[int, str]] = []
        self._stills: list[tuple[int, str]] = []
        self._posters: list[Poster] = []
        self._wanted = _wanted(plan)

    def take(self, frame: Any) -> None:
        """Feeds one upright picture to every output."""
        self._frames += 1
        self._sizes.start(frame)
        for encode in self._plan.encodes:
            self._encoder(encode).write(self._sizes.at((encode.width, encode.height)))
        for kind, place in self._wanted.get(frame.pts, ()):
            self._pictures[kind](place, frame.pts)

    @property
    def _pictures(self) -> dict[str, Callable[[int, int], None]]:
        return {"tile": self._tile, "still": self._still, "poster": self._poster}

    def _encoder(self, encode: Encode) -> _Encoder:
        if encode.name not in self._encoders:
            made = _Encoder(self._folder / f"{encode.name}-{self._label}.mp4", encode, self._plan)
            self._encoders[encode.name] = (encode, made)
        return self._encoders[encode.name][1]

    def _save(self, image: Any, name: str, options: dict[str, Any]) -> str:
        image.save(self._folder / name, **options)
        return name

    def _tile(self, place: int, _pts: int) -> None:
        pick = self._plan.storyboard
        assert pick is not None
        image = self._sizes.rgb(pick.size, self._plan.small)
        self._tiles.append((place, self._save(image, f"tile-{place:05d}.png", _TILE)))

    def _still(self, place: int, _pts: int) -> None:
        pick = self._plan.stills
        assert pick is not None
        ms = round(pick.times[place] * 1000)
        image = self._sizes.rgb(pick.size, self._plan.small)
        self._stills.append((ms, self._save(image, f"still-{ms:010d}.jpg", _JPEG)))

    def _poster(self, _place: int, pts: int) -> None:
        if any(poster.shows for poster in self._posters):
            return
        mean, contrast = _light(self._sizes.at(self._plan.small))
        image = self._sizes.rgb(self._plan.base, self._plan.base)
        name = self._save(image, f"poster-{pts}.jpg", _POSTER)
        shows = mean > _DARK and contrast > _FLAT
        self._posters.append(Poster(name, self._plan.seconds(pts), contrast, shows))

    def close(self) -> ChunkResult:
        """Ends every file."""
        for _, encoder in self._encoders.values():
            encoder.close()
        return ChunkResult(
            frames=self._frames,
            encodes=tuple((name, f"{name}-{self._label}.mp4") for name in self._encoders),
            tiles=tuple(self._tiles),
            stills=tuple(self._stills),
            posters=tuple(self._posters),
        )


def _wanted(plan: RenderPlan) -> dict[int, list[tuple[str, int]]]:
    """What each picture is also kept as: pts -> (kind, place)."""
    wanted: dict[int, list[tuple[str, int]]] = {}
    picks = (
        ("tile", plan.storyboard.pts if plan.storyboard else ()),
        ("still", plan.stills.pts if plan.stills else ()),
        ("poster", plan.poster),
    )
    for kind, all_pts in picks:
        for place, pts in enumerate(all_pts):
            wanted.setdefault(pts, []).append((kind, place))
    return wanted


def _light(frame: Any) -> tuple[float, float]:
    """Mean and standard deviation of the luma, 16..235 for black to white."""
    luma = frame.to_ndarray()[: frame.height]
    return float(luma.mean()), float(luma.std())


def choose_poster(posters: list[Poster]) -> Poster | None:
    """The earliest candidate that shows something, else the one with the most contrast."""
    ordered = sorted(posters, key=lambda poster: poster.time)
    return next((p for p in ordered if p.shows), max(ordered, key=lambda p: p.contrast, default=None))
