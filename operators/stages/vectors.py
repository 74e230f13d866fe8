"""Vectors as a step's file: an Arrow IPC file with one row for each moment, what register puts into the index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from operators.stages.steps import File, Made
from schemas.routing import Route

WORDS_A_PASSAGE = 120

SCHEMA = pa.schema([
    pa.field("moment", pa.string(), nullable=False),
    pa.field("start_s", pa.float64()),
    pa.field("end_s", pa.float64()),
    pa.field("page", pa.int64()),
    pa.field("text", pa.string(), nullable=False),
    pa.field("vector", pa.list_(pa.float32()), nullable=False),
])  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """A part of an asset: the whole of it, a time range in seconds, or a page; `text` is what is read there.

    `origin` tells apart what is read in different ways at one place; `part` numbers its passages.
    """

    text: str = ""
    start_s: float | None = None
    end_s: float | None = None
    page: int | None = None
    part: int = 0
    origin: str = ""

    @property
    def name(self) -> str:
        """Unique among an asset's moments of one kind."""
        place = f"page-{self.page}" if self.page is not None else ""
        if self.start_s is not None:
            place = f"{self.start_s:.3f}-{self.end_s or self.start_s:.3f}"
        return f"{self.origin}/{place}/{self.part}"


def passages(text: str, **where: float | int | str | None) -> list[Moment]:
    """Text in pieces that an encoder takes in whole, in order."""
    words = text.split()
    starts = range(0, len(words), WORDS_A_PASSAGE)
    return [
        Moment(" ".join(words[i : i + WORDS_A_PASSAGE]), part=n, **where)  # type: ignore[arg-type]
        for n, i in enumerate(starts)
    ]


def write_vectors(name: str, moments: Sequence[Moment], vectors: np.ndarray, route: Route, scratch: Path) -> Made:
    """One row for each moment; `vectors` float32 [n, dimension], of unit length, in the route's space."""
    rows = [
        {"moment": m.name, "start_s": m.start_s, "end_s": m.end_s, "page": m.page, "text": m.text, "vector": v}
        for m, v in zip(moments, vectors.tolist(), strict=True)
    ]
    path = scratch / f"{name}.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
    about = {"space": route.space, "dimension": route.dimension, "rows": len(rows)}
    return Made([File(name, "vectors", path, "application/vnd.apache.arrow.file", about)], about)
