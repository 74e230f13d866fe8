"""A video in chunks equals the same in one piece: pictures, their times, the sound beside them, and no seam shows."""

from __future__ import annotations

import subprocess
from bisect import bisect_left
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import media_factory as make
import numpy as np
import pytest
from media_rendering import FAST, UNEVEN, planned, rendered

from operators.media.audio import render_audio
from operators.media.chunks import read_timeline
from schemas.pipelines import AudioParams, PreviewParams

SAMPLE = Path(__file__).parents[1] / "samples" / "big-buck-bunny.mp4"
OPEN_GOP = "open-gop=1:bframes=3:b-adapt=0:scenecut=0:keyint=12:min-keyint=12"
KINDS: dict[str, dict[str, Any]] = {
    "constant.mp4": {},
    "ntsc.mp4": {"time_base": Fraction(1001, 30000)},
    "variable.mp4": {"pts": UNEVEN},
    "variable.mkv": {"pts": UNEVEN},
    "b-frames.mp4": {"x264": "bframes=5:b-pyramid=normal:b-adapt=0:scenecut=0"},
    "variable-b-frames.mp4": {"pts": UNEVEN, "x264": "bframes=5:b-pyramid=normal:b-adapt=0:scenecut=0"},
    "open-gop.mp4": {"x264": OPEN_GOP},
    "open-gop.ts": {"x264": OPEN_GOP},
    "variable-open-gop.mkv": {"pts": UNEVEN, "x264": OPEN_GOP},
    "start-offset.mkv": {"pts": range(90, 186)},
    "start-offset.ts": {"pts": range(90, 186)},
    "intra.mp4": {"gop": 1},
    "rotated.mp4": {"rotation": 90},
    "interlaced.mp4": {"interlaced": True},
    "edit-list.mp4": {},
    "edit-list-open-gop.mp4": {"x264": OPEN_GOP},
}
CLICK = 48  # the picture with which it sounds


def source(folder: Path, name: str) -> Path:
    """A clip of this kind, whose sound has a click as its 48th picture is shown."""
    fields = KINDS[name]
    clip = make.Clip(**fields)
    start, at = (clip.pts[n] * clip.time_base for n in (0, CLICK))
    sound = make.tone(float((clip.pts[-1] + 1) * clip.time_base - start), 0.02)
    click = round((at - start) * make.RATE)
    sound[:, click : click + 480] = 0.5
    clip = make.Clip(**fields, audio=sound, audio_start=start)
    if not name.startswith("edit-list"):
        return make.write(folder / name, clip)
    return edited(make.write(folder / "plain.mp4", clip), folder / name, Fraction(5, 24))


def edited(path: Path, out: Path, seconds: Fraction) -> Path:
    """The same packets so much earlier: an edit list leaves out what comes before zero."""
    with av.open(str(path)) as old, av.open(str(out), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.size:
                ticks = round(seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    return out


def probed(path: Path, stream: str, entries: str) -> list[list[str]]:
    """What ffprobe says of each frame or packet of a stream."""
    asked = ["-select_streams", f"{stream}:0", "-show_entries", entries, "-of", "csv=p=0"]
    done = subprocess.run(["ffprobe", "-v", "error", *asked, path], check=True, text=True, capture_output=True)
    return [line.rstrip(",").split(",")[:2] for line in done.stdout.splitlines() if line]


@pytest.mark.tool("ffprobe")
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_joined_equal_one_piece(tmp_path: Path, kind: str) -> None:
    """Every picture is there once, in its order and at its time, and the sound beside it, as if it were one piece."""
    path = source(tmp_path, kind)
    plan = planned(path)
    made = render_audio(path, tmp_path, AudioParams(), PreviewParams(), {"audio"})
    audio = tmp_path / dict(made.files)["audio"]
    whole, _ = rendered(path, tmp_path / "one", plan.only({"mezzanine"}), [(None, None)], audio)
    many, results = rendered(path, tmp_path / "many", plan, None, audio)
    turns = -1 if kind == "rotated.mp4" else 0
    pieces, one, was = make.shown(many, turns), make.shown(whole, turns), make.shown(path)
    assert len(plan.chunks) > 2 and sum(result.frames for result in results) == len(was) == plan.frames
    assert pieces == one
    assert max(abs(float(a - plan.origin - b)) for (a, _), (b, _) in zip(was, pieces, strict=True)) < 1e-4
    assert [number for _, number in pieces] == [number for _, number in was]

    frames = [probed(each, "v", "frame=pts_time") for each in (many, whole)]
    sounds = [probed(each, "a", "packet=pts_time,size") for each in (many, whole)]
    assert frames[0] == frames[1] and len(frames[0]) == len(was)
    assert sounds[0] == sounds[1] and sounds[0]
    shown = next(time for time, number in pieces if number == CLICK)
    assert make.clicked(many) == make.clicked(whole) == pytest.approx(float(shown), abs=0.004)
    decoding = [float(dts) for _pts, dts in probed(many, "v", "packet=pts_time,dts_time")]
    assert all(a < b for a, b in pairwise(decoding))


def film(path: Path, pictures: int = 96) -> Path:
    """The beginning of a film in 320x180, a key frame in half a second."""
    with av.open(str(SAMPLE)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream("libx264", rate=24, options={"preset": "ultrafast", "crf": "12"})
        stream.width, stream.height, stream.gop_size = *make.SIZE, 12
        for number, frame in zip(range(pictures), old.decode(video=0), strict=False):
            small = frame.reformat(*make.SIZE, "yuv420p")
            small.pts, small.time_base, small.pict_type = number, Fraction(1, 24), 0
            new.mux(stream.encode(small))
        new.mux(stream.encode(None))
    return path


def luma(path: Path) -> np.ndarray:
    """The luma of all pictures, shape (pictures, height, width)."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray()[:180] for frame in container.decode(video=0)]).astype(np.float32)


def test_no_seam_shows(tmp_path: Path) -> None:
    """Of a film, pictures behind a seam are as near to the source as those before it, and all as in one piece."""
    path = film(tmp_path / "film.mp4")
    plan = planned(path, FAST.model_copy(update={"chunk_s": 1.0}))
    whole, _ = rendered(path, tmp_path / "one", plan.only({"mezzanine"}), [(None, None)])
    many, _ = rendered(path, tmp_path / "many", plan.only({"mezzanine"}))
    true, *made = (luma(each) for each in (path, whole, many))
    one, pieces = (10 * np.log10(255**2 / np.maximum(((each - true) ** 2).mean(axis=(1, 2)), 1e-6)) for each in made)
    starts = [bisect_left(read_timeline(path).pictures, start) for start, _stop in plan.chunks if start is not None]
    beside = [n for start in starts for n in range(start - 2, start + 3)]
    assert len(starts) >= 2
    assert all(pieces[start : start + 3].min() > pieces[start - 1] - 2.0 for start in starts)
    assert pieces.mean() > one.mean() - 0.5
    assert pieces[beside].min() > np.delete(pieces, beside).min() - 1.0
