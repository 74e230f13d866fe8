"""Waveform data in audiowaveform's JSON format, version 2: minimum and maximum of each group of samples."""

from __future__ import annotations

import json
from array import array
from pathlib import Path

import numpy as np


class Waveform:
    """Takes mono 16-bit samples as they come; keeps only the extremes, 4 bytes a pixel."""

    def __init__(self, rate: int, samples_per_pixel: int) -> None:
        self._rate, self._group = rate, samples_per_pixel
        self._rest = np.empty(0, np.int16)
        self._data = array("h")

    def push(self, samples: np.ndarray) -> None:
        """Takes samples of shape (n,), int16."""
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) // self._group * self._group
        self._add(joined[:whole].reshape(-1, self._group))
        self._rest = joined[whole:]

    def _add(self, groups: np.ndarray) -> None:
        extremes = np.stack([groups.min(axis=1), groups.max(axis=1)], axis=1) if len(groups) else groups
        self._data.frombytes(extremes.astype(np.int16).tobytes())

    def write(self, path: Path) -> int:
        """Writes the file; a last group may be shorter. Returns the number of pixels."""
        if len(self._rest):
            self._add(self._rest.reshape(1, -1))
            self._rest = self._rest[:0]
        head = {
            "version": 2,
            "channels": 1,
            "sample_rate": self._rate,
            "samples_per_pixel": self._group,
            "bits": 16,
            "length": len(self._data) // 2,
        }
        text = json.dumps(head, separators=(",", ":"))
        with path.open("w", encoding="ascii") as file:
            file.write(text[:-1] + ',"data":[')
            file.write(",".join(map(str, self._data)))
            file.write("]}")
        return len(self._data) // 2
