"""Audio renditions: loudness-normalised AAC and its preview, a mono track for speech models, the waveform."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

from operators.media.delivery import Delivery, Made, bit_rates
from operators.media.loudness import Level, Loudness, Meter
from operators.media.sound import Chain, stereo
from operators.media.waveform import Waveform
from schemas.pipelines import AudioParams, LoudnessParams, PreviewParams

OUTPUTS = frozenset({"audio", "preview", "speech", "waveform"})
FILES = {"audio": "audio.m4a", "preview": "preview.m4a", "speech": "speech.wav", "waveform": "waveform.json"}


@dataclass(frozen=True)
class AudioResult:
    """What was made, as names in the folder, and its loudness.

    `before` is the stereo downmix of the source, `after` the decoded `audio` file, `preview_after` the
    decoded preview; `level` was applied to `audio`; `passes` counts encodes. `code`: silence, peak_bound or
    None.
    """

    files: tuple[tuple[str, str], ...]
    seconds: float
    before: Loudness
    after: Loudness | None = None
    preview_after: Loudness | None = None
    level: Level = field(default_factory=Level)
    passes: int = 0
    code: str | None = None


def render_audio(
    path: Path | str,
    out_dir: Path | str,
    params: AudioParams,
    preview: PreviewParams,
    outputs: Collection[str] = OUTPUTS,
) -> AudioResult:
    """Renders the first audio track into `out_dir`; `outputs` are names of `OUTPUTS`.

    The sound begins at the asset's zero (`source.origin_of`), so that it stays in time with the video.
    Errors: no_media_stream, corrupt_media (with the time).
    """
    folder = Path(out_dir)
    before = _first_pass(path, folder, params, preview, outputs)
    wanted = {FILES[name]: rate for name, rate in bit_rates(params).items() if name in outputs}
    made, passes = Delivery(path, folder, params, before).make(wanted) if wanted else ({}, 0)
    main = made.get(FILES["audio"]) or made.get(FILES["preview"])
    return AudioResult(
        files=tuple((name, FILES[name]) for name in sorted(outputs)),
        seconds=before.seconds,
        before=before,
        after=_after(made, "audio"),
        preview_after=_after(made, "preview"),
        level=main.level if main else Level(),
        passes=passes,
        code=_code(before, [one.after for one in made.values()], params.loudness),
    )


def _after(made: dict[str, Made], name: str) -> Loudness | None:
    return made[FILES[name]].after if FILES[name] in made else None


def _code(before: Loudness, after: list[Loudness], target: LoudnessParams) -> str | None:
    if before.is_silent:
        return "silence"
    far = any(abs(one.integrated - target.target_lufs) > target.tolerance_lu for one in after)
    return "peak_bound" if far else None


def _first_pass(
    path: Path | str, folder: Path, params: AudioParams, preview: PreviewParams, outputs: Collection[str]
) -> Loudness:
    """Measures the downmix and makes the speech track and the waveform on the way."""
    meter = Meter()
    speech = _Speech(folder, params.speech_rate, preview.waveform_samples_per_pixel, outputs)
    for frame in stereo(path, params.sample_rate):
        meter.push(frame)
        speech.push(frame)
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
            self._wave.write(self._folder / FILES["waveform"])
        if self._file is not None:
            self._file.mux(self._stream.encode(None))
            self._file.close()
