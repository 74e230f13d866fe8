"""Short demo clips for the web: frames made in memory to H.264 in MP4."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from operators.media import h273
from operators.media.webp import MadeFile

Pixels = NDArray[np.uint8]


def even(width: float, height: float, most: int) -> tuple[int, int]:
    """(width, height) of at most `most` pixels of height, both even as 4:2:0 needs, never enlarged."""
    scale = min(1.0, most / height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def write_clip(frames: Iterable[Pixels], size: tuple[int, int], rate: Fraction, crf: int, path: Path) -> MadeFile:
    """Encodes (height, width, 3) uint8 sRGB frames as BT.709, limited range, faststart."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.thread_count = 1
        h273.tag(stream.codec_context)
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        for pixels in frames:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(
                stream.encode(frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"))
            )
        container.mux(stream.encode(None))
    return MadeFile(path.name, "preview", "video/mp4", *size, path.stat().st_size)
