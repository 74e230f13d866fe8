"""One decode of a chunk feeds every output: H.264 renditions, storyboard tiles, stills, the poster."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from operators.media import h273
from operators.media.frames import Upright, decoded
from operators.media.kept import Keeper, Kept
from operators.media.plan import Encode, RenderPlan
from operators.media.sizes import Sizes


@dataclass(frozen=True)
class ChunkResult:
    """What a chunk gave: the number of pictures, files by encode (none where it shows no picture), and `kept` ones.

    Files are names in the chunk's folder.
    """

    frames: int
    encodes: tuple[tuple[str, str], ...] = ()
    kept: Kept = field(default_factory=Kept)


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
    for frame in decoded(path, start, stop, plan.keys_only):
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


class _Outputs:
    """Everything that a chunk's pictures are written to; files leave memory as they are made."""

    def __init__(self, folder: Path, label: str, plan: RenderPlan) -> None:
        self._folder, self._label, self._plan = folder, label, plan
        self._sizes, self._frames = Sizes(plan), 0
        self._keeper = Keeper(folder, label, plan, self._sizes)
        self._encoders: dict[str, tuple[Encode, _Encoder]] = {}

    def take(self, frame: Any) -> None:
        """Feeds one upright picture to every output."""
        self._frames += 1
        self._sizes.start(frame)
        for encode in self._plan.encodes:
            self._encoder(encode).write(self._sizes.at((encode.width, encode.height)))
        self._keeper.take(frame.pts)

    def _encoder(self, encode: Encode) -> _Encoder:
        if encode.name not in self._encoders:
            made = _Encoder(self._folder / f"{encode.name}-{self._label}.mp4", encode, self._plan)
            self._encoders[encode.name] = (encode, made)
        return self._encoders[encode.name][1]

    def close(self) -> ChunkResult:
        """Ends every file."""
        for _, encoder in self._encoders.values():
            encoder.close()
        files = tuple((name, f"{name}-{self._label}.mp4") for name in self._encoders)
        return ChunkResult(self._frames, files, self._keeper.close())
