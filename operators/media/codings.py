"""The files that sound is delivered in: AAC in MP4, Opus in Ogg, and FLAC."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from schemas.pipelines import AudioParams

# RFC 6716: Opus decodes at 48 kHz, whatever was put in
_OPUS_RATE = 48_000


@dataclass(frozen=True)
class Coding:
    """How a file is coded: its muxer and encoder, Hz, bit/s (0 where lossless), and the encoder's sample format."""

    muxer: str
    encoder: str
    rate: int
    bit_rate: int = 0
    sample_format: str = "fltp"


FLAC = "flac"


def flac(rate: int) -> Coding:
    """FLAC (RFC 9639) of 24 bits; sound of 16 bits costs no more in it."""
    return Coding("flac", FLAC, rate, sample_format="s32")


def codings(params: AudioParams) -> dict[str, Coding]:
    """The codings of the delivered outputs by name."""
    return {
        "audio": Coding("ipod", "aac", params.sample_rate, params.bit_rate),
        "preview": Coding("ipod", "aac", params.sample_rate, params.preview_bit_rate),
        "opus": Coding("ogg", "libopus", _OPUS_RATE, params.opus_bit_rate, "flt"),
        "flac": flac(params.sample_rate),
    }


class SoundFile:
    """A file to write; it decodes to as many samples as were written, for the encoder's priming is declared."""

    def __init__(self, path: Path, coding: Coding, layout: str = "stereo") -> None:
        options = {"movflags": "+faststart", "movie_timescale": str(coding.rate)} if coding.muxer == "ipod" else {}
        self._container = av.open(str(path), "w", format=coding.muxer, options=options)
        self._stream: Any = self._container.add_stream(coding.encoder, rate=coding.rate, layout=layout)
        _set(self._stream, coding)

    def write(self, frame: Any) -> None:
        """Encodes a frame of the file's layout; format and rate are converted."""
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> SoundFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.mux(self._stream.encode(None))
        self._container.close()


def _set(stream: Any, coding: Coding) -> None:
    stream.codec_context.format = coding.sample_format
    if coding.bit_rate:
        stream.bit_rate = coding.bit_rate
