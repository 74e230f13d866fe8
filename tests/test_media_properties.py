"""What holds of every video, over codec, rate, rotation and layout of the sound: each two of them meet in some clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any

import av
import media_factory as make
import pytest
from media_rendering import UNEVEN, planned, rendered

from operators.media.audio import render_audio
from operators.media.integrity import check_media
from operators.media.probe import quick_probe
from schemas.pipelines import AudioParams, Limits, PreviewParams

FRAMES, CLICK = 40, 24
CODECS = {
    "h264": ("libx264", "yuv420p", "mp4"),
    "hevc": ("libx265", "yuv420p10le", "mp4"),
    "vp9": ("libvpx-vp9", "yuv420p", "mp4"),
    "av1": ("libsvtav1", "yuv420p10le", "mp4"),
    "mpeg4": ("mpeg4", "yuv420p", "mp4"),
    "prores": ("prores_ks", "yuv422p10le", "mov"),
}
RATES = {
    "23.976": Fraction(24000, 1001),
    "25": Fraction(25),
    "29.97": Fraction(30000, 1001),
    "59.94": Fraction(60000, 1001),
    "variable": None,
}
ROTATIONS = (0, 90, 180, 270)
LAYOUTS = {"none": 0, "mono": 1, "stereo": 2, "5.1": 6, "7.1": 8}
Case = tuple[Any, ...]


def covering(*axes: Sequence[Any]) -> Iterator[Case]:
    """Few of all combinations, in which any two values of two axes meet: the one that adds most, again and again."""

    def pairs(case: Case) -> set[Any]:
        return set(combinations(enumerate(case), 2))

    every = {case: pairs(case) for case in product(*axes)}
    missing = set[Any]().union(*every.values())
    while missing:
        best = max(every, key=lambda case: len(every[case] & missing))
        missing -= every.pop(best)
        yield best


def source(folder: Path, codec: str, rate: str, rotation: int, layout: str) -> tuple[Path, list[Fraction]]:
    """A numbered clip whose sound clicks as picture `CLICK` is shown, and the times of its pictures in s."""
    encoder, pixels, suffix = CODECS[codec]
    fixed = RATES[rate]
    base = Fraction(1, 30) if fixed is None else 1 / fixed
    pts = UNEVEN[:FRAMES] if fixed is None else list(range(FRAMES))
    times = [number * base for number in pts]
    sound = make.tone(float(times[-1]) + 0.2, 0.15, channels=LAYOUTS[layout]) if LAYOUTS[layout] else None
    if sound is not None:
        first = round(times[CLICK] * make.RATE)
        sound[:, first : first + 480] = 0.6
    clip = make.Clip(
        pts=pts, time_base=base, codec=encoder, pixel_format=pixels, rotation=rotation, audio=sound, layout=layout
    )
    return make.write(folder / f"source.{suffix}", clip), times


@pytest.mark.parametrize(("codec", "rate", "rotation", "layout"), [*covering(CODECS, RATES, ROTATIONS, LAYOUTS)])
def test_every_video_keeps_its_pictures_its_times_and_its_sound(
    tmp_path: Path, codec: str, rate: str, rotation: int, layout: str
) -> None:
    """It is probed as it was made; its mezzanine has each picture once, upright, in time, with its sound in time."""
    path, times = source(tmp_path, codec, rate, rotation, layout)
    technical = quick_probe(path, "video", Limits())
    assert technical.video is not None and technical.video.codec == codec
    assert (technical.video.rotation, technical.video.mirrored) == (-rotation % 360, False)
    assert [track.channels for track in technical.audio] == ([LAYOUTS[layout]] if LAYOUTS[layout] else [])
    checked = check_media(path)
    assert checked.pictures == FRAMES
    sound = None
    if technical.audio:
        made = render_audio(path, tmp_path, AudioParams(), PreviewParams(), {"audio", "waveform"})
        sound, level = tmp_path / "audio.m4a", made.delivered["audio"]
        assert level.after.true_peak <= -1.5 and (level.code == "peak_bound" or abs(level.after.integrated + 14) <= 0.3)
    plan = planned(path)
    joined, _ = rendered(path, tmp_path / "o", plan.only({"mezzanine"}), audio=sound)
    shown = make.shown(joined, -rotation // 90)
    assert [number for _, number in shown] == list(range(FRAMES)) and len(plan.chunks) > 1
    assert max(abs(float(at - time)) for (at, _), time in zip(shown, times, strict=True)) < 2e-4
    assert all(later > earlier for (earlier, _), (later, _) in pairwise(shown))
    with av.open(str(joined)) as container:
        video = container.streams.video[0]
        assert (video.width, video.height) == ((180, 320) if rotation % 180 else (320, 180))
        assert (video.pix_fmt, video.codec_context.name) == ("yuv420p", "h264")
        assert [track.layout.name for track in container.streams.audio] == (["stereo"] if sound else [])
    if sound is not None:
        assert make.clicked(joined) == pytest.approx(float(times[CLICK]), abs=0.02)
