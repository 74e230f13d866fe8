"""How the notebooks look: small figures, one colour for each kind of asset, pictures of assets."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from PIL import Image

from dataflows.library import Library

COLOURS = {
    "video": "#4c72b0", "audio": "#dd8452", "image": "#55a868", "document": "#8172b3", "template": "#937860",
    "": "#8c8c8c",
}  # fmt: skip
GREY = "#d9d9d9"


def style() -> None:
    """Sets matplotlib and polars for notebooks that are kept with their outputs."""
    plt.rcParams.update({
        "figure.dpi": 80, "figure.figsize": (9, 4.5), "figure.constrained_layout.use": True, "font.size": 10,
        "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left", "axes.titlesize": 11,
        "savefig.bbox": "tight",
    })  # fmt: skip
    pl.Config(tbl_rows=40, tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True, float_precision=2)
    pl.Config(fmt_str_lengths=80, tbl_width_chars=130)


def thumbnail(library: Library, sha256: str, longest: int = 80) -> np.ndarray:
    """A stored picture, uint8 RGB, its longer side of so many pixels at most; of few colours, for small plots."""
    with Image.open(io.BytesIO(library.read(sha256))) as picture:
        small = picture.convert("RGB")
        small.thumbnail((longest, longest))
        return np.asarray(small.quantize(64, dither=Image.Dither.NONE).convert("RGB"))


def place(ax: Axes, picture: np.ndarray, at: tuple[float, float], colour: str, scale: float = 1.0) -> None:
    """Puts a picture at a point of a plot, framed in a colour; at scale 1 pixel for pixel."""
    box = OffsetImage(picture, zoom=scale * 72 / plt.rcParams["figure.dpi"], interpolation="nearest")
    frame = {"edgecolor": colour, "linewidth": 2, "boxstyle": "square,pad=0.1"}
    ax.add_artist(AnnotationBbox(box, at, bboxprops=frame))


def gallery(ax: Axes, pictures: Sequence[tuple[np.ndarray | None, str]], columns: int, title: str = "") -> None:
    """Pictures side by side in `columns` places, each with its caption below; None for an asset without a picture."""
    ax.set_xlim(0, columns)
    ax.set_ylim(0, 1)
    ax.axis("off")
    ax.set_title(title)
    for number, (picture, caption) in enumerate(pictures):
        if picture is None:
            ax.text(number + 0.5, 0.6, "no picture", ha="center", va="center", color="grey")
        else:
            place(ax, picture, (number + 0.5, 0.6), GREY)
        ax.text(number + 0.5, 0.02, caption, ha="center", va="bottom", fontsize=8)
