"""Each channel of surround sound as a mono file of its own, as it is: no level, no other rate."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from operators.media.codings import FLAC, SoundFile, flac
from operators.media.sound import separate


@dataclass(frozen=True)
class ChannelFile:
    """A mono file's name in the folder, its channel (FL, FR, FC, LFE, BL, BR, SL, SR, …) and its length."""

    name: str
    channel: str
    seconds: float


def split_channels(path: Path | str, out_dir: Path | str, track: int = 0) -> list[ChannelFile]:
    """Writes every channel of an audio track as 24-bit FLAC, from the asset's zero, in the track's order.

    Samples over full scale, which only floating-point sources have, are clipped. Errors as `sound.stereo`.
    """
    folder, names, samples, rate = Path(out_dir), list[str](), 0, 1
    with ExitStack() as stack:
        files: list[SoundFile] = []
        for frame in separate(path, track):
            if not files:
                rate, names = frame.sample_rate, _names(frame)
                paths = [folder / _file(name) for name in names]
                files = [stack.enter_context(SoundFile(each, flac(rate), "mono")) for each in paths]
            samples += frame.samples
            for file, one in zip(files, frame.to_ndarray().reshape(-1, len(names)).T, strict=True):
                file.write(_mono(one, rate))
    return [ChannelFile(_file(name), name, samples / rate) for name in names]


def _file(name: str) -> str:
    return f"channel-{name}.{FLAC}"


def _names(frame: Any) -> list[str]:
    """The channels' names; their numbers, from 1, where they are not told apart by names."""
    names = [channel.name for channel in frame.layout.channels]
    apart = len(set(names)) == len(names) and all(name.isalnum() for name in names)
    return names if apart and "channels" not in frame.layout.name else [str(n + 1) for n in range(len(names))]


def _mono(samples: np.ndarray, rate: int) -> Any:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), "s32", "mono")
    frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
    return frame
