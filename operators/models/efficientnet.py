"""EfficientNet-lite0 (int8, onnxruntime): picture -> embedding, ImageNet-1k labels, vector among words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from operators.models.pictures import pixels
from operators.models.results import Label
from operators.models.sessions import FOLDER, session
from operators.models.vectors import conse, softmax, unit
from schemas.routing import Route, Task

PACKAGES = ("onnxruntime",)
NETWORK = FOLDER / "efficientnet-lite0-int8.onnx"
NAMES = FOLDER / "imagenet-1k-names.txt"
NAME_VECTORS = FOLDER / "imagenet-1k-names-minilm.npy"
BATCH = 4  # more at once take longer each, since what they need no longer fits the caches
_last: dict[str, tuple[np.ndarray, np.ndarray]] = {}


def files(task: Task) -> tuple[Path, ...]:
    """The weights of a task."""
    return (NETWORK, NAME_VECTORS) if task == Task.IMAGE_TEXT_BRIDGE else (NETWORK,)


@lru_cache
def load(threads: int) -> Any:
    """The network's session."""
    return session(NETWORK, threads)


@lru_cache
def names() -> tuple[str, ...]:
    """The 1000 class names, in the order of the logits."""
    return tuple(NAMES.read_text(encoding="utf-8").splitlines())


@lru_cache
def name_vectors() -> np.ndarray:
    """The class names' text vectors, float32 (1000, 384), of length 1."""
    return unit(np.load(NAME_VECTORS).astype(np.float32))


def _batch(pictures: Sequence[np.ndarray], threads: int) -> tuple[np.ndarray, np.ndarray]:
    embedding, logits = load(threads).run(["embedding", "logits"], {"pixels": pixels(pictures)})
    return embedding, logits


def forward(pictures: Sequence[np.ndarray], threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (N, 1280) and logits (N, 1000), float32.

    Those of the last pictures are kept: the three tasks on the same pictures share one pass.
    """
    sums = hashlib.blake2b(digest_size=16)
    for picture in pictures:
        sums.update(repr(picture.shape).encode())
        sums.update(np.ascontiguousarray(picture).data)
    if (key := sums.hexdigest()) not in _last:
        starts = range(0, len(pictures), BATCH)
        parts = [_batch(pictures[start : start + BATCH], threads) for start in starts]
        _last.clear()
        _last[key] = (
            np.concatenate([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
        )
    return _last[key]


def labels(logits: np.ndarray, top: int, least: float) -> list[Label]:
    """The likeliest classes of one picture's logits (1000), best first, none under the least probability."""
    probabilities = softmax(logits)
    best = np.argsort(-probabilities, kind="stable")[:top]
    return [Label(names()[i], float(probabilities[i])) for i in best if probabilities[i] >= least]


def run(route: Route, pictures: Sequence[np.ndarray], threads: int) -> Any:
    """uint8 RGB pictures (H, W, 3) -> unit vectors (N, 1280) or (N, 384), or each one's list of labels."""
    if not len(pictures):
        return [] if route.task == Task.IMAGE_LABELS else np.empty((0, route.dimension or 0), np.float32)
    embedding, logits = forward(pictures, threads)
    options = route.options
    if route.task == Task.IMAGE_EMBEDDING:
        return unit(embedding)
    if route.task == Task.IMAGE_LABELS:
        return [labels(row, int(options["top"]), options["least"]) for row in logits]
    return conse(softmax(logits, options["temperature"]), name_vectors(), int(options["top"]))
