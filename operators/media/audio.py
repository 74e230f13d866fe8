"""Audio renditions: loudness-normalised AAC, Opus and FLAC, a mono track for speech models, the waveform."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

from operators.media.codings import codings
from operators.media.delivery import Delivery, Made
from operators.media.loudness import Loudness, Meter
from operators.media.sound import Chain, stereo
from operators.media.waveform import Waveform
from schemas.pipelines import AudioParams, PreviewParams

FILES = {
    "audio": "audio.m4a",
    "preview": "preview.m4a",
    "opus": "audio.opus",
    "flac": "audio.flac",
    "speech": "speech.wav",
    "waveform": "waveform.json",
}
OUTPUTS = frozenset(FILES)
_MOST_WAITING = 8
WAVEFORM_DATA = "waveform.dat"


@dataclass(frozen=True)
class AudioResult:
    """What was made, as names in the folder, and its loudness.

    `before` is the stereo downmix of the source; `delivered` says by output what was applied and what the decoded
    file measures. A mono source is panned to both channels at -3 dB, so that it measures as it did alone.
    """

    files: tuple[tuple[str, str], ...]
    seconds: float
    before: Loudness
    delivered: dict[str, Made] = field(default_factory=dict)


def render_audio(
    path: Path | str,
    out_dir: Path | str,
    params: AudioParams,
    preview: PreviewParams,
    outputs: Collection[str] = OUTPUTS,
    track: int = 0,
) -> AudioResult:
    """Renders an audio track (from 0) into `out_dir`; `outputs` are names of `OUTPUTS`.

    The sound begins at the asset's zero (`source.origin_of`), so that it stays in time with the video.
    Errors: no_media_stream, corrupt_media (with the time).
    """
    folder = Path(out_dir)
    before = _first_pass(stereo(path, params.sample_rate, track), folder, params, preview, outputs)
    wanted = {FILES[name]: coding for name, coding in codings(params).items() if name in outputs}
    made = Delivery(path, folder, params, before, track).make(wanted) if wanted else {}
    return AudioResult(
        files=tuple((name, FILES[name]) for name in sorted(outputs)),
        seconds=before.seconds,
        before=before,
        delivered={name: made[FILES[name]] for name in codings(params) if name in outputs},
    )


def _first_pass(
    frames: Iterable[Any], folder: Path, params: AudioParams, preview: PreviewParams, outputs: Collection[str]
) -> Loudness:
    """Measures the downmix, in a thread beside it, and makes the speech track and the waveform on the way."""
    meter, measured = Meter(), deque[Future[None]]()
    speech = _Speech(folder, params.speech_rate, preview.waveform_samples_per_pixel, outputs)
    with ThreadPoolExecutor(1) as pool:
        for frame in frames:
            measured.append(pool.submit(meter.push, frame))
            speech.push(frame)
            if len(measured) > _MOST_WAITING:
                measured.popleft().result()
        for each in measured:
            each.result()
    speech.close()
    return meter.result()


class _Speech:
    """The mono 16-bit track and the waveform of it."""

    def __init__(self, folder: Path, rate: int, group: int, outputs: Collection[str]) -> None:
        self._folder, self._rate = folder, rate
        self._wave = Waveform(rate, group) if "waveform" in outputs else None
        self._file: Any = av.open(str(folder / FILES["speech"]), "w") if "speech" in outputs else None
        self._stream: Any = self._file and self._file.add_stream("pcm_s16le", rate=rate, layout="mono")
        self._chain: Chain | None = None

    def push(self, frame: Any | None) -> None:
        if self._wave is None and self._file is None:
            return
        form = f"channel_layouts=mono:sample_rates={self._rate}:sample_fmts=s16"
        if self._chain is None and frame is not None:
            self._chain = Chain(frame, (("aformat", form),))
        for out in self._chain.push(frame) if self._chain else ():
            if self._wave is not None:
                self._wave.push(out.to_ndarray()[0])
            if self._file is not None:
                self._file.mux(self._stream.encode(out))

    def close(self) -> None:
        self.push(None)
        if self._wave is not None:
            self._wave.write(self._folder / FILES["waveform"], self._folder / WAVEFORM_DATA)
        if self._file is not None:
            self._file.mux(self._stream.encode(None))
            self._file.close()
