"""A photo to three WebP renditions and a ThumbHash by our engine, and by pyvips in process in two ways."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyvips

from bench import sources
from bench.measure import Cost, Row, metered, of_pairs
from operators.media.rendition import render_image
from operators.media.thumb import MOST_SIDE, encode
from operators.media.webp import METHOD
from schemas.pipelines import ImageParams

Way = Callable[[Path, Path], object]
PARAMS = ImageParams()


def _ours(source: Path, out: Path) -> object:
    return render_image(source, out, PARAMS, {"renditions", "thumbhash"})


def _thumbnails(source: Path, out: Path) -> object:
    """As is usual: each size from the file, which is decoded at a reduced size each time."""
    for width in PARAMS.widths:
        _save(pyvips.Image.thumbnail(str(source), width), out)
    return _hash(pyvips.Image.thumbnail(str(source), MOST_SIDE, height=MOST_SIDE))


def _cascade(source: Path, out: Path) -> object:
    """Each size from the next larger one, which is kept in memory: one decode."""
    image = pyvips.Image.thumbnail(str(source), PARAMS.widths[0]).copy_memory()
    _save(image, out)
    for width in PARAMS.widths[1:]:
        image = image.thumbnail_image(width).copy_memory()
        _save(image, out)
    return _hash(image.thumbnail_image(MOST_SIDE, height=MOST_SIDE))


def _save(image: pyvips.Image, out: Path) -> None:
    image.webpsave(str(out / f"w{image.width}.webp"), Q=PARAMS.quality, effort=METHOD, keep="none")


def _hash(image: pyvips.Image) -> str:
    rgb = image.numpy()
    alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    return base64.b64encode(encode(np.concatenate([rgb, alpha], axis=2))).decode()


def compared(size: tuple[int, int], rounds: int) -> tuple[list[Row], dict[str, list[Cost]]]:
    """Rounds of all three ways in turn, after one that is not counted."""
    source = sources.photo(*size)
    pyvips.cache_set_max(0)  # it would find the thumbnails of the round before
    ways = {"ours": _ours, "thumbnails": _thumbnails, "cascade": _cascade}
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            costs[name].append(_timed(way, source))
    walls = {name: [cost.wall for cost in found[1:]] for name, found in costs.items()}
    what = f"{size[0] * size[1] / 1e6:.0f} MP JPEG to three WebP and a ThumbHash: wall time"
    return [
        Row(f"{what}, of three pyvips thumbnails'", of_pairs(walls["ours"], walls["thumbnails"]), 0.75),
        Row(f"{what}, of a pyvips cascade's", of_pairs(walls["ours"], walls["cascade"]), 0.95),
    ], {name: found[1:] for name, found in costs.items()}


def _timed(way: Way, source: Path) -> Cost:
    with tempfile.TemporaryDirectory() as folder, metered() as cost:
        way(source, Path(folder))
    return cost
