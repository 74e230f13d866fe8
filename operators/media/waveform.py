"""Waveform data in audiowaveform's formats, version 2, JSON and binary: minimum and maximum of groups of samples."""

from __future__ import annotations

import json
import struct
from array import array
from pathlib import Path

import numpy as np

_VERSION = 2
# peaks.js takes no other; 16-bit samples are divided as audiowaveform does, towards 0
_EIGHT_BIT, _STEP = 1, 256
# little-endian: version, flags (bit 0: 8-bit data), sample rate, samples per pixel, length, channels
_HEADER = struct.Struct("<iIiiIi")


class Waveform:
    """Takes mono 16-bit samples as they come; keeps only the extremes, 2 bytes a pixel."""

    def __init__(self, rate: int, samples_per_pixel: int) -> None:
        self._rate, self._group = rate, samples_per_pixel
        self._rest = np.empty(0, np.int16)
        self._data = array("b")

    def push(self, samples: np.ndarray) -> None:
        """Takes samples of shape (n,), int16."""
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) // self._group * self._group
        self._add(joined[:whole].reshape(-1, self._group))
        self._rest = joined[whole:]

    def _add(self, groups: np.ndarray) -> None:
        extremes = np.stack([groups.min(axis=1), groups.max(axis=1)], axis=1) if len(groups) else groups
        self._data.frombytes((extremes / _STEP).astype(np.int8).tobytes())

    def write(self, as_json: Path, as_data: Path) -> int:
        """Writes both files; a last group may be shorter. Returns the number of pixels."""
        if len(self._rest):
            self._add(self._rest.reshape(1, -1))
            self._rest = self._rest[:0]
        pixels = len(self._data) // 2
        self._write_json(as_json, pixels)
        with as_data.open("wb") as file:
            file.write(_HEADER.pack(_VERSION, _EIGHT_BIT, self._rate, self._group, pixels, 1))
            self._data.tofile(file)
        return pixels

    def _write_json(self, path: Path, pixels: int) -> None:
        head = {
            "version": _VERSION,
            "channels": 1,
            "sample_rate": self._rate,
            "samples_per_pixel": self._group,
            "bits": 8,
            "length": pixels,
        }
        text = json.dumps(head, separators=(",", ":"))
        with path.open("w", encoding="ascii") as file:
            file.write(text[:-1] + ',"data":[')
            file.write(",".join(map(str, self._data)))
            file.write("]}")
