"""Look-up tables in the .cube form (Adobe Cube LUT Specification 1.0), shown on a picture before and after."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

from operators.media.clips import Pixels
from operators.media.pages import known
from schemas.errors import AssetError
from schemas.technical import Template

SIZES = {1: (2, 65_536), 3: (2, 256)}
_WORDS = re.compile(
    r"(TITLE|DOMAIN_MIN|DOMAIN_MAX|LUT_1D_SIZE|LUT_3D_SIZE|LUT_1D_INPUT_RANGE|LUT_3D_INPUT_RANGE)\b(.*)"
)
_DEEP: Any = "gbrpf32le"
_MOST_LINE = 250
_NUMERIC = frozenset("0123456789+-.")
_WIDTH, _HEIGHT = 640, 360


@dataclass(frozen=True)
class Lut:
    """A table: `dimensions` 1 or 3, `size` points a side, domain, and rows of red, green, blue, red fastest."""

    title: str | None
    dimensions: int
    size: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    rows: NDArray[np.float64]


def _bad(number: int, what: str) -> AssetError:
    return AssetError("corrupt_template", f"line {number}: {what}")


def quick_cube(path: Path) -> Template:
    """What a table is, by its keywords and the number of its rows, whose numbers are for `read_cube`."""
    said, rows = _parted(path)
    dimensions, size = _size(said, len(rows))
    return Template(format="cube", name=_title(said), dimensions=3 if dimensions == 3 else 1, lut=size)


def read_cube(path: Path) -> Lut:
    """Raises corrupt_template with the number of the line."""
    said, texts = _parted(path)
    dimensions, size = _size(said, len(texts))
    rows = np.array([_row(text, number) for number, text in texts])
    return Lut(_title(said), dimensions, size, *_domain(said, dimensions), rows)


def _title(said: dict[str, str]) -> str | None:
    return known(said.get("TITLE", "").strip('"'))


def _parted(path: Path) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """What the keywords say, and the rows with their lines' numbers."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise AssetError("corrupt_template", "it is no UTF-8 text") from error
    said, rows = dict[str, str](), list[tuple[int, str]]()
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if len(text) > _MOST_LINE:
            raise _bad(number, f"more than {_MOST_LINE} characters")
        if text[:1] in _NUMERIC:
            rows.append((number, text))
        elif text and text[0] != "#":
            _say(said, text, number, bool(rows))
    return said, rows


def _say(said: dict[str, str], text: str, number: int, after_rows: bool) -> None:
    word = _WORDS.fullmatch(text)
    if word is None:
        raise _bad(number, f"{text[:40]!r} is neither a keyword nor three numbers")
    if word[1] in said or after_rows:
        raise _bad(number, f"{word[1]} again, or after the table")
    said[word[1]] = word[2].strip()


def _row(text: str, number: int) -> tuple[float, ...]:
    try:
        row = tuple(float(part) for part in text.split())
    except ValueError:
        raise _bad(number, f"{text[:40]!r} is neither a keyword nor three numbers") from None
    if len(row) != 3 or not all(map(math.isfinite, row)):
        raise _bad(number, "a row has three finite numbers")
    return row


def _size(said: dict[str, str], rows: int) -> tuple[int, int]:
    """The dimensions, 1 or 3, and the points a side, with as many rows."""
    sizes = {d: said[f"LUT_{d}D_SIZE"] for d in (1, 3) if f"LUT_{d}D_SIZE" in said}
    if len(sizes) != 1:
        raise AssetError("corrupt_template", "it says its size not once, as LUT_1D_SIZE or LUT_3D_SIZE")
    ((dimensions, text),) = sizes.items()
    least, most = SIZES[dimensions]
    if not re.fullmatch("[0-9]{1,5}", text) or not least <= int(text) <= most:
        raise AssetError("corrupt_template", f"its size {text[:20]!r} is not within {least} and {most}")
    if rows != int(text) ** dimensions:
        raise AssetError("corrupt_template", f"{rows} rows, where a size of {text} has {int(text) ** dimensions}")
    return dimensions, int(text)


def _domain(said: dict[str, str], dimensions: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Adobe's DOMAIN_MIN and DOMAIN_MAX, or Resolve's input range."""
    both = said.get(f"LUT_{dimensions}D_INPUT_RANGE", "0 1").split()
    texts = [said.get("DOMAIN_MIN", " ".join(both[:1] * 3)), said.get("DOMAIN_MAX", " ".join(both[1:] * 3))]
    try:
        low, high = (_row(text, 0) for text in texts)
    except AssetError:
        raise AssetError("corrupt_template", "its domain is no three numbers each") from None
    if any(a >= b for a, b in zip(low, high, strict=True)):
        raise AssetError("corrupt_template", "its domain is empty")
    return low, high


def reference() -> Pixels:
    """(360, 640, 3) uint8 sRGB, synthesised: hues by saturation and lightness, skin tones, and a ramp of greys."""
    across = np.linspace(0, 1, _WIDTH)
    hue = np.abs((across[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    pure = np.clip(hue, 0, 1)
    down = np.linspace(0, 2, 220)[:, None, None]
    hues = np.where(down < 1, 1 - (1 - pure) * down, pure * (2 - down))
    ramp = np.broadcast_to(across[:, None], (60, _WIDTH, 3))
    patches = np.array([
        (115, 82, 68), (194, 150, 130), (98, 122, 157), (87, 108, 67), (133, 128, 177), (103, 189, 170),
        (214, 126, 44), (80, 91, 166), (193, 90, 99), (94, 60, 108), (157, 188, 64), (224, 163, 46),
        (56, 61, 150), (70, 148, 73), (175, 54, 60), (231, 199, 31),
    ]) / 255  # fmt: skip
    row = np.broadcast_to(np.repeat(patches, _WIDTH // 16, axis=0), (80, _WIDTH, 3))
    return np.round(np.concatenate([hues, row, ramp]) * 255).astype(np.uint8)


def applied(lut: Lut, picture: Pixels, folder: Path) -> Pixels:
    """The picture through FFmpeg's lut3d (tetrahedral) or lut1d filter, from a table written anew below `folder`."""
    table = folder / "table.cube"
    head = [f"LUT_{lut.dimensions}D_SIZE {lut.size}"]
    head += [f"{word} " + " ".join(map(repr, v)) for word, v in (("DOMAIN_MIN", lut.low), ("DOMAIN_MAX", lut.high))]
    table.write_text("\n".join([*head, *(" ".join(f"{v:.9g}" for v in row) for row in lut.rows), ""]))
    graph = Graph()
    height, width = picture.shape[:2]
    source: Any = graph.add_buffer(width=width, height=height, format=_DEEP, time_base=Fraction(1, 25))
    name = "lut3d" if lut.dimensions == 3 else "lut1d"
    interpolation = "tetrahedral" if lut.dimensions == 3 else "linear"
    table_filter = graph.add(name, f"file='{_escaped(table)}':interp={interpolation}")
    sink = graph.add("buffersink")
    source.link_to(table_filter)
    table_filter.link_to(sink)
    graph.configure()
    frame = av.VideoFrame.from_ndarray(picture.astype(np.float32) / np.float32(255), format=_DEEP)
    frame.pts = 0
    source.push(frame)
    made: Any = sink.pull()
    return np.round(np.clip(made.to_ndarray(), 0, 1) * 255).astype(np.uint8)


def _escaped(path: Path) -> str:
    """Within quotes of a filter's option."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace("'", "'\\\\\\''")


def beside(before: Pixels, after: Pixels, at: float) -> Pixels:
    """Before on the left, after on the right of `at` (0..1 of the width), a white line of two pixels between."""
    column = round(at * before.shape[1])
    made = np.concatenate([before[:, :column], after[:, column:]], axis=1)
    made[:, max(0, column - 1) : column + 1] = 255
    return made
