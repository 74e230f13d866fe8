"""HLS packages of small clips, made as the stages do, with what each picture and each beep must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import media_factory as media
import numpy as np
from media_rendering import planned

from operators.media.audio import render_audio
from operators.media.hls import Job, Package, Rung, Text, Track, package
from operators.media.hls_playlists import Label
from operators.media.plan import RenderPlan
from operators.media.video import render_chunk
from schemas.pipelines import AudioParams, PreviewParams, VideoEncode, VideoParams

# x264 puts B-frames into both; key frames of the smaller one lie closer than the segments
PARAMS = VideoParams(
    mezzanine=VideoEncode(height=180, crf=24, gop_s=2.0), preview=VideoEncode(height=90, crf=28, gop_s=1.0), chunk_s=4.0
)
SEGMENT_S = 2.0
RATE = 25
FLASH_S = 0.16


@dataclass(frozen=True)
class Ladder:
    """A package in a folder, and what it was made from."""

    folder: Path
    source: Path
    plan: RenderPlan
    rungs: tuple[Rung, ...]
    made: Package


def flashes(seconds: int) -> list[float]:
    """When the pictures turn white and the sound beeps (s)."""
    return [second + 0.52 for second in range(0, seconds, 2)]


def flashing(path: Path, seconds: int) -> Path:
    """A clip of numbered pictures whose lower half is white, and which beeps, at the `flashes`."""
    sound = np.zeros((2, seconds * media.RATE))
    for at in flashes(seconds):
        beep = media.tone(FLASH_S, 0.4)
        first = round(at * media.RATE)
        sound[:, first : first + beep.shape[1]] = beep
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "16"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = *media.SIZE, "yuv444p", 50
        track: Any = container.add_stream("aac", rate=media.RATE, layout="stereo")
        for number in range(seconds * RATE):
            picture = media.numbered(number)
            lit = any(0 <= number / RATE - at < FLASH_S for at in flashes(seconds))
            picture[media.SIZE[1] // 2 :] = 250 if lit else 20
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv444p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for frame in media.sound_frames(sound, "stereo"):
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


def chunks_of(source: Path, folder: Path, plan: RenderPlan) -> dict[str, list[Path]]:
    """Every encode's chunks in order."""
    folder.mkdir(parents=True)
    made: dict[str, list[Path]] = {}
    for one in plan.chunks:
        for name, file in render_chunk(source, folder, plan, *one).encodes:
            made.setdefault(name, []).append(folder / file)
    return made


def sound_of(source: Path, folder: Path) -> Path:
    """The delivered AAC of a source's first audio track."""
    folder.mkdir(parents=True)
    render_audio(source, folder, AudioParams(), PreviewParams(), ["audio"])
    return folder / "audio.m4a"


def laddered(
    source: Path,
    folder: Path,
    texts: Sequence[Text] = (),
    copied: bool = False,
    params: VideoParams = PARAMS,
    segment_s: float = SEGMENT_S,
    sounds: int = 1,
    names: Sequence[str] = ("mezzanine", "preview"),
) -> Ladder:
    """The package of a source's renditions; with `copied` its own pictures are the largest."""
    plan = planned(source, params).only(["preview"] if copied else names)
    parts = chunks_of(source, folder / "parts", plan)
    rungs = [Rung(name, tuple(files), plan.origin) for name, files in parts.items()]
    if copied:
        rungs.append(Rung("mezzanine", (source,), plan.origin, may_go=True))
    tracks = []
    for number in range(sounds):
        path = sound_of(source, folder / f"sound-{number}")
        label = Label(("English", "Deutsch")[number], ("en", "de")[number], default=number == 0)
        tracks.append(Track("audio" if number == 0 else f"audio-{number + 1}", path, label))
    out = folder / "out"
    out.mkdir()
    job = Job(tuple(rungs), tuple(tracks), tuple(texts), plan.rate, plan.duration, segment_s)
    return Ladder(out, source, plan, tuple(rungs), package(job, out))


def times(path: Path) -> list[Fraction]:
    """When each picture or block of sound of a file is shown (s), in order."""
    with av.open(str(path)) as container:
        frames = container.decode(container.streams[0])
        return [frame.pts * frame.time_base for frame in frames]
