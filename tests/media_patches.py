"""Clips of colour patches by the equations of ITU-T H.273, apart from any scaler, and their colours read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

# of red and blue in luma, by the matrix's code point
_BT601 = (0.299, 0.114)
_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: _BT601, 6: _BT601, 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
Grid = Sequence[Sequence[tuple[float, float, float]]]


@dataclass(frozen=True)
class Patches:
    """A still clip whose grid shows R'G'B' 0..1; `tags` are primaries, transfer and matrix by their code points."""

    grid: Grid
    tags: tuple[int, int, int] = (1, 1, 1)
    full: bool = False
    pixel_format: str = "yuv420p"
    codec: str = "ffv1"
    size: tuple[int, int] = (320, 180)
    frames: int = 6
    turn: tuple[int, bool] | None = None
    options: tuple[tuple[str, str], ...] = ()
    pixel_aspect: str | None = None
    alpha: float | None = None


def write_patches(path: Path, clip: Patches, sound: np.ndarray | None = None, untagged: bool = False) -> Path:
    """Writes the clip, with sound where given; the container follows the file's name."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(clip.codec, rate=24, options=dict(clip.options))
        stream.width, stream.height, stream.pix_fmt = *clip.size, clip.pixel_format
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = (2, 2, 2) if untagged else clip.tags
        context.color_range = 2 if clip.full else 1
        context.thread_count = 1
        if clip.pixel_aspect:
            context.sample_aspect_ratio = Fraction(clip.pixel_aspect)
        if clip.turn:
            stream.set_display_rotation(clip.turn[0], hflip=clip.turn[1])
        noise = container.add_stream("aac", rate=48_000, layout="stereo") if sound is not None else None
        picture = _frame(clip)
        for number in range(clip.frames):
            picture.pts, picture.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if noise is not None and sound is not None:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound, np.float32), "fltp", "stereo")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
            container.mux(noise.encode(frame))
            container.mux(noise.encode(None))
    return path


def _frame(clip: Patches) -> Any:
    rgb = painted(clip.grid, clip.size)
    layout = av.VideoFormat(clip.pixel_format)
    if layout.is_rgb:
        alpha = [] if clip.alpha is None else [np.full((*rgb.shape[:2], 1), clip.alpha)]
        values = np.rint(np.concatenate([rgb, *alpha], axis=-1) * 255).astype(np.uint8)
        return av.VideoFrame.from_ndarray(values, "rgb24" if clip.alpha is None else "rgba").reformat(
            format=clip.pixel_format
        )
    frame = av.VideoFrame(*clip.size, clip.pixel_format)
    frame.colorspace, frame.color_range = clip.tags[2], 2 if clip.full else 1
    frame.color_primaries, frame.color_trc = clip.tags[:2]
    planes = list(coded(rgb, clip.tags[2], clip.full, layout.components[0].bits))
    if clip.alpha is not None:
        planes.append(np.full(rgb.shape[:2], clip.alpha * (2 ** layout.components[0].bits - 1)))
    for plane, values in zip(frame.planes, planes, strict=True):
        down, across = -(-clip.size[1] // plane.height), -(-clip.size[0] // plane.width)
        _fill(plane, values[::down, ::across], layout.components[0].bits)
    return frame


def _fill(plane: Any, values: np.ndarray, bits: int) -> None:
    kind = np.uint8 if bits == 8 else np.uint16
    rows = np.zeros((plane.height, plane.line_size // np.dtype(kind).itemsize), kind)
    rows[:, : plane.width] = np.rint(values)[: plane.height, : plane.width]
    plane.update(rows.tobytes())


def painted(grid: Grid, size: tuple[int, int]) -> np.ndarray:
    """The grid as a picture (height, width, 3)."""
    cells = np.array(grid, float)
    rows = np.arange(size[1]) * cells.shape[0] // size[1]
    columns = np.arange(size[0]) * cells.shape[1] // size[0]
    return cells[rows][:, columns]


def coded(rgb: np.ndarray, matrix: int, full: bool, bits: int = 8) -> np.ndarray:
    """Y', Cb, Cr (3, ...) of R'G'B' (..., 3) by H.273, 8.3."""
    red, blue = _WEIGHTS.get(matrix, _WEIGHTS[6])
    luma = rgb @ np.array([red, 1 - red - blue, blue])
    cb, cr = (rgb[..., 2] - luma) / (2 - 2 * blue), (rgb[..., 0] - luma) / (2 - 2 * red)
    step = 2.0 ** (bits - 8)
    whole = 2.0**bits - 1
    if full:
        return np.stack([whole * luma, whole * cb + 128 * step, whole * cr + 128 * step])
    return step * np.stack([16 + 219 * luma, 128 + 224 * cb, 128 + 224 * cr])


def decoded(yuv: np.ndarray, matrix: int) -> np.ndarray:
    """R'G'B' 0..1 (..., 3) of 8-bit limited Y', Cb, Cr (3, ...)."""
    red, blue = _WEIGHTS[matrix]
    luma, cb, cr = (yuv[0] - 16) / 219, (yuv[1] - 128) / 224, (yuv[2] - 128) / 224
    r, b = luma + (2 - 2 * red) * cr, luma + (2 - 2 * blue) * cb
    return np.stack([r, (luma - red * r - blue * b) / (1 - red - blue), b], axis=-1)


def middle(frame: Any) -> np.ndarray:
    """R'G'B' 0..255 in the middle of an 8-bit 4:2:0 picture in limited range."""
    yuv = np.stack([_middles(_plane(plane), 1, 1) for plane in frame.planes]).astype(float)
    return decoded(yuv, int(frame.colorspace))[0, 0] * 255


def shown(path: Path, rows: int, columns: int) -> np.ndarray:
    """R'G'B' 0..255 in the middle of each cell of the first picture, (rows, columns, 3), read by the file's tags."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == "yuv420p" and frame.color_range == 1
        planes = [_plane(plane) for plane in frame.planes]
        yuv = np.stack([_middles(plane, rows, columns) for plane in planes]).astype(float)
        return decoded(yuv, int(frame.colorspace)) * 255


def _plane(plane: Any) -> np.ndarray:
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def pictured(path: Path, rows: int, columns: int) -> np.ndarray:
    """R'G'B' 0..255 in the middle of each cell of an image file."""
    with Image.open(path) as image:
        return _middles(np.asarray(image.convert("RGB")), rows, columns).astype(float)


def _middles(picture: np.ndarray, rows: int, columns: int) -> np.ndarray:
    down = (2 * np.arange(rows) + 1) * picture.shape[0] // (2 * rows)
    across = (2 * np.arange(columns) + 1) * picture.shape[1] // (2 * columns)
    return picture[down][:, across]
