"""Fragmented MP4 (ISO/IEC 14496-12, CMAF ISO/IEC 23000-19): one track, one file, fragments that need no neighbour.

Boxes are written here, not by FFmpeg's muxer, which sees one file at a time and rounds or guesses at its borders: so
every tick is the source's, and where each fragment lies is known.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import av
import numpy as np

from operators.media.boxes import boxes_of

_SYNC, _OTHER = 0x0200_0000, 0x0101_0000
_TRUN = 0x000F01  # data offset; of each sample duration, size, flags and composition offset
_BASE_IS_MOOF = 0x02_0000
_HEADER = 8


@dataclass(frozen=True)
class Samples:
    """A track's samples in decode order, in ticks from the asset's zero and in bytes; `key` tells of sync samples.

    `end` is when the last sample ends.
    """

    pts: np.ndarray
    size: np.ndarray
    key: np.ndarray
    end: int

    @cached_property
    def shown(self) -> np.ndarray:
        """The times in the order in which they are shown, and `end`."""
        return np.append(np.sort(self.pts), self.end)

    @cached_property
    def lead(self) -> int:
        """By how many ticks decoding begins before showing."""
        return int(self.shown[0]) - int(self.dts[0])

    @cached_property
    def dts(self) -> np.ndarray:
        """When each sample is decoded: as many samples before it is shown as the order of decoding asks for.

        Not all readers take the negative composition offsets that would save this delay.
        """
        places = np.searchsorted(self.shown, self.pts)
        delay = int((np.arange(len(places)) - places).max(initial=0))
        step = int(self.shown[1] - self.shown[0])
        early = self.shown[0] - step * np.arange(delay, 0, -1)
        return np.concatenate((early, self.shown[: len(places) - delay]))

    @cached_property
    def durations(self) -> np.ndarray:
        """From one decode time to the next; of the last sample, how long it is shown."""
        return np.append(np.diff(self.dts), self.shown[-1] - self.shown[-2])


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box with its length."""
    body = b"".join(parts)
    return struct.pack(">I", len(body) + _HEADER) + kind + body


def init_segment(template: Any, delay: int = 0) -> bytes:
    """ftyp and moov of a track like `template` (a stream), in its own time scale.

    `delay` ticks at its beginning are never presented (an encoder's priming): an edit list says so.
    """
    buffer = io.BytesIO()
    options = {"movflags": "empty_moov+default_base_moof", "video_track_timescale": str(template.time_base.denominator)}
    with av.open(buffer, "w", format="mp4", options=options) as container:
        stream = container.add_stream_from_template(
            template, opaque=True
        )  # else by a decoder, not every one of which is named as its codec
        stream.metadata.clear()
        if stream.codec_context.name == "hevc":
            stream.codec_context.codec_tag = "hvc1"
        container.start_encoding()
    boxes = dict(_boxes(buffer.getvalue()))
    moov = {kind: data for kind, data in _boxes(boxes[b"moov"]) if kind != b"udta"}
    if delay:
        moov[b"trak"] = _with_edit(moov[b"trak"], delay)
    ftyp = box(b"ftyp", b"iso6", bytes(4), b"iso6cmfcmp41")
    return ftyp + box(b"moov", *(box(kind, data) for kind, data in moov.items()))


def _boxes(data: bytes) -> Iterable[tuple[bytes, bytes]]:
    """(type, body) of each box."""
    return ((kind, data[at + _HEADER : end]) for kind, at, end in boxes_of(data))


def _with_edit(trak: bytes, delay: int) -> bytes:
    """A `trak` body whose presentation begins `delay` ticks into its media; 0 stands for the fragments' length."""
    edit = box(b"edts", box(b"elst", struct.pack(">IIIiHH", 0, 1, 0, delay, 1, 0)))
    first, *rest = _boxes(trak)
    return box(*first) + edit + b"".join(box(*one) for one in rest)


def write_fragment(out: BinaryIO, number: int, samples: Samples, span: range, delay: int, data: Iterable[bytes]) -> int:
    """Writes moof and mdat of the samples in `span`, whose bytes `data` gives in order; returns the bytes written.

    Decode times are those of `samples` and `delay` ticks later.
    """
    cut = slice(span.start, span.stop)
    dts = samples.dts[cut]
    rows = np.empty((len(span), 4), ">u4")
    rows[:, 0], rows[:, 1] = samples.durations[cut], samples.size[cut]
    rows[:, 2] = np.where(samples.key[cut], _SYNC, _OTHER)
    rows[:, 3] = (samples.pts[cut] - dts).astype(">i4").view(">u4")
    head = _moof(number, int(dts[0]) + delay, rows)
    body = int(samples.size[cut].sum())
    out.write(head + struct.pack(">I", body + _HEADER) + b"mdat")
    for sample in data:
        out.write(sample)
    return len(head) + _HEADER + body


def _moof(number: int, time: int, rows: np.ndarray) -> bytes:
    """Version 1 of `trun` has signed composition offsets."""

    def whole(offset: int) -> bytes:
        traf = box(
            b"traf",
            box(b"tfhd", struct.pack(">II", _BASE_IS_MOOF, 1)),
            box(b"tfdt", struct.pack(">IQ", 1 << 24, time)),
            box(b"trun", struct.pack(">IIi", 1 << 24 | _TRUN, len(rows), offset), rows.tobytes()),
        )
        return box(b"moof", box(b"mfhd", struct.pack(">II", 0, number)), traf)

    return whole(len(whole(0)) + _HEADER)


def closed_keys(samples: Samples) -> np.ndarray:
    """Places of key frames where a segment may begin: all before is shown before, all from there on not earlier."""
    before = np.concatenate(([np.iinfo(np.int64).min], np.maximum.accumulate(samples.pts)[:-1]))
    after = np.minimum.accumulate(samples.pts[::-1])[::-1]
    return np.flatnonzero(samples.key & (before < samples.pts) & (after == samples.pts))


def spans_of(starts: Sequence[int], count: int) -> list[range]:
    """The stretches that begin at these places, to the end."""
    return [range(a, b) for a, b in zip(starts, [*starts[1:], count], strict=True) if a < b]
