"""Arithmetic on vectors and class scores; arrays are float32, one row an item."""

from __future__ import annotations

import numpy as np


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1 (float32); a row of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Scores (N, C) as probabilities; a temperature under 1 sharpens."""
    scaled = logits / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def conse(probabilities: np.ndarray, names: np.ndarray, top: int) -> np.ndarray:
    """Convex combination of semantic embeddings (ConSE): pictures in the space of words.

    Each picture's vector (N, D) is the mean of its `top` likeliest classes' name vectors (C, D), weighted by
    probability (N, C), and scaled to length 1.
    """
    kept = np.sort(probabilities, axis=-1)[:, -top, None]
    return unit(np.where(probabilities >= kept, probabilities, 0.0) @ names)
