"""One encoder's run into one MP4 whose timestamps are the source's, and how each codec's encoder is set."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.frame import PictureType

from operators.media import h273
from operators.media.ladder import Encode
from operators.media.plan import RenderPlan
from schemas.pipelines import Codec
from schemas.technical import Mastering

_NAMES: dict[Codec, str] = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}
# hvc1: headers stand in the sample entry alone, as Apple's players want it
_TAGS: dict[Codec, str] = {"hevc": "hvc1"}
# one thread each: chunks run beside each other
_X265 = "log-level=error:info=0:pools=none:frame-threads=1:open-gop=0"
_SVT_AV1 = "lp=1"


class Encoder:
    """Pictures in the order they are shown, in the encode's size and `pixel_format`, to an MP4 of one closed range."""

    def __init__(self, path: Path, encode: Encode, plan: RenderPlan) -> None:
        ticks = str(plan.time_base.denominator)
        # The edit list counts in the movie's timescale, 1 ms unless told: that would move every chunk.
        options = {"video_track_timescale": ticks, "movie_timescale": ticks}
        self._container = av.open(str(path), "w", format="mp4", options=options)
        wide = plan.wide if encode.hdr else None
        set_to = settings(encode, wide.mastering if wide else None)
        stream: Any = self._container.add_stream(_NAMES[encode.codec], rate=plan.rate, options=set_to)
        stream.width, stream.height, stream.pix_fmt = encode.width, encode.height, pixel_format(encode)
        stream.gop_size, stream.thread_count, stream.thread_type = encode.gop, 1, "FRAME"
        context = stream.codec_context
        context.time_base, context.sample_aspect_ratio = plan.time_base, Fraction(1, 1)
        if encode.codec in _TAGS:
            context.codec_tag = _TAGS[encode.codec]
        h273.tag(context, wide.colour if wide else plan.colour)
        self._container.start_encoding()
        if encode.codec == "av1":
            _ordinary()
        self._stream = stream

    def write(self, frame: Any, key: bool = False) -> None:
        """Encodes a picture, as an IDR picture if `key`; None flushes."""
        if frame is not None:
            frame.pict_type = PictureType.I if key else PictureType.NONE  # else the source's would be copied
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Ends the file."""
        self.write(None)
        self._container.close()


def _ordinary() -> None:
    """SVT-AV1 makes its caller and its threads real-time ones where the user may do so, and nothing else runs."""
    for thread in (int(path.name) for path in Path("/proc/self/task").iterdir()):
        with suppress(ProcessLookupError):
            if os.sched_getscheduler(thread) != os.SCHED_OTHER:
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def pixel_format(encode: Encode) -> str:
    """4:2:0 of the encode's depth, by FFmpeg's name."""
    return "yuv420p" if encode.bit_depth == 8 else "yuv420p10le"


def settings(encode: Encode, mastering: Mastering | None = None) -> dict[str, str]:
    """The encoder's options; every GOP is closed, and a picture asked for as a key is an IDR picture."""
    common = {"preset": encode.preset, "crf": str(encode.crf)}
    match encode.codec:
        case "h264":
            return {**common, "profile": "high", "forced-idr": "1"}
        case "hevc":
            params = ":".join((_X265, *(_x265_hdr(mastering) if encode.hdr else ())))
            return {**common, "forced-idr": "1", "x265-params": params}
        case "av1":
            return {**common, "svtav1-params": ":".join((_SVT_AV1, *_svt_av1_hdr(mastering)))}


def _x265_hdr(mastering: Mastering | None) -> Iterator[str]:
    """The SEI messages stand in the sample entry, beside the parameter sets, which hvc1 allows nowhere else."""
    yield "hdr10=1"
    if mastering is None:
        return
    if display := _display(mastering, 50_000, 10_000, "{:.0f}"):
        yield f"master-display={display}"
    if mastering.max_cll or mastering.max_fall:
        yield f"max-cll={mastering.max_cll or 0},{mastering.max_fall or 0}"


def _svt_av1_hdr(mastering: Mastering | None) -> Iterator[str]:
    if mastering is None:
        return
    if display := _display(mastering, 1, 1, "{:.5f}"):
        yield f"mastering-display={display}"
    if mastering.max_cll or mastering.max_fall:
        yield f"content-light={mastering.max_cll or 0},{mastering.max_fall or 0}"


def _display(mastering: Mastering, chromaticity: int, light: int, number: str) -> str:
    """The mastering display as encoders want it, in so many parts of 1 and of 1 cd/m2; all of it, or nothing."""
    xy, least, most = mastering.primaries, mastering.min_nits, mastering.max_nits
    if xy is None or least is None or most is None:
        return ""
    pairs = zip(("R", "G", "B", "WP"), zip(xy[::2], xy[1::2], strict=True), strict=True)
    told = {name: ",".join(number.format(value * chromaticity) for value in pair) for name, pair in pairs}
    limits = ",".join(number.format(value * light) for value in (most, least))
    return "".join(f"{name}({told[name]})" for name in ("G", "B", "R", "WP")) + f"L({limits})"
