"""PP-OCR (onnxruntime, by rapidocr): picture -> lines of text. The models are those of the wheel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from operators.models.results import Line
from operators.models.sessions import package
from schemas.routing import Route, Task

PACKAGES = ("rapidocr",)
SIDE = 960
MODELS = {
    "Det": "PP-OCRv6_det_small.onnx",
    "Cls": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "Rec": "PP-OCRv6_rec_small.onnx",
}


def files(task: Task) -> tuple[Path, ...]:
    """The networks that find lines, turn them and read them."""
    return tuple(package("rapidocr") / "models" / name for name in MODELS.values())


@lru_cache
def load(threads: int) -> Any:
    """The reader with its networks; their paths are given, lest rapidocr look for them on the web."""
    from rapidocr import RapidOCR

    paths = {f"{part}.model_path": str(path) for part, path in zip(MODELS, files(Task.OCR), strict=True)}
    engine = {
        # Its default draws small pictures up to 736: five times the work, and it finds letters in fur.
        "Det.limit_type": "max",
        "Det.limit_side_len": SIDE,
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    reader = RapidOCR(params={"Global.log_level": "critical", **paths, **engine})
    # Its networks load at the first picture; a blank one makes that part of loading.
    reader(np.full((64, 64, 3), 255, np.uint8))
    return reader


def _is_text(text: str) -> bool:
    """Two letters or digits at least: a cat's eye reads as 0, a cup as 8."""
    return sum(sign.isalnum() for sign in text) >= 2


def _lines(found: Any) -> list[Line]:
    if found.txts is None:
        return []
    return [
        Line(text.strip(), float(score), tuple((float(x), float(y)) for x, y in box))
        for text, score, box in zip(found.txts, found.scores, found.boxes, strict=True)
        if _is_text(text)
    ]


def run(route: Route, pictures: Sequence[np.ndarray], threads: int) -> list[list[Line]]:
    """uint8 RGB pictures (H, W, 3) -> each one's lines from top to bottom, but the doubtful."""
    reader = load(threads)
    # rapidocr takes arrays in the order of OpenCV, BGR.
    found = (
        reader(np.ascontiguousarray(picture[..., ::-1]), text_score=route.options["least"]) for picture in pictures
    )
    return [_lines(lines) for lines in found]
