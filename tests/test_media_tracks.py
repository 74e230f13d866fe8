"""Tracks of every kind: which there are, how they are named, time codes beside them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import media_factory as make
import pytest
from av.stream import Disposition
from media_rendering import planned, rendered

from operators.media.integrity import check_media
from operators.media.probe import quick_probe
from schemas.pipelines import Limits
from schemas.technical import Technical


def probe(path: Path) -> Technical:
    return quick_probe(path, "video", Limits())


def test_a_video_without_sound_and_sound_without_video_are_told_apart(tmp_path: Path) -> None:
    """A silent video has no audio track; a video container that holds sound, or sound and a cover, is audio."""
    silent = make.write(tmp_path / "silent.mp4", make.Clip(pts=range(6)))
    assert probe(silent).kind == "video" and probe(silent).audio == ()
    for name, codec in (("a.mkv", "flac"), ("a.mov", "pcm_s16le"), ("a.webm", "libopus"), ("a.ts", "mp2")):
        found = probe(make.write_sound(tmp_path / name, make.tone(1, 0.2), codec=codec))
        assert (found.kind, found.video, len(found.audio)) == ("audio", None, 1)
    covered = probe(make.write_with_cover(tmp_path / "c.mp4", make.tone(1, 0.2)))
    assert (covered.kind, covered.video) == ("audio", None)


def with_timecode(path: Path, code: str, rate: Fraction) -> Path:
    with av.open(str(path), "w") as container:
        container.metadata["timecode"] = code
        stream: Any = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 320, 180, "yuv420p", 12
        for number in range(48):
            frame = av.VideoFrame.from_ndarray(make.numbered(number), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "code", "rate"),
    [
        ("t.mov", "01:02:03:04", Fraction(25)),
        ("t.mov", "10:00:00;02", Fraction(30000, 1001)),
        ("t.mp4", "09:59:58:00", Fraction(24)),
        ("t.mxf", "01:00:00:00", Fraction(25)),
    ],
)
def test_a_track_of_time_codes_is_read_and_does_no_harm(tmp_path: Path, name: str, code: str, rate: Fraction) -> None:
    """The start time code comes from a tmcd track or the container; every picture is still rendered."""
    path = with_timecode(tmp_path / name, code, rate)
    assert probe(path).timecode == code and probe(path).audio == ()
    joined, _ = rendered(path, tmp_path / "o", planned(path).only({"mezzanine"}))
    assert [number for _, number in make.shown(joined)] == list(range(48))
    assert check_media(path).pictures == 48 and probe(joined).timecode is None


def test_all_tracks_are_told_with_language_title_and_default(tmp_path: Path) -> None:
    """Several audio and subtitle tracks keep their order, language, title, default and forced marks."""
    path = tmp_path / "t.mkv"
    tone = make.tone(1, 0.1)
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds = [_sound(container, "eng", "Main", True), _sound(container, "deu", "Kommentar", False)]
        texts = [_text(container, "eng", "Full", ()), _text(container, "fra", "", (Disposition.forced,))]
        for number in range(24):
            frame = av.VideoFrame.from_ndarray(make.numbered(number, (64, 48)), "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for sound in sounds:
            for block in make.sound_frames(tone, "stereo"):
                container.mux(sound.encode(block))
            container.mux(sound.encode(None))
        for text in texts:
            packet = av.Packet(b"Hello")
            packet.pts, packet.dts, packet.duration, packet.time_base = 0, 0, 500, Fraction(1, 1000)
            packet.stream = text
            container.mux(packet)
    found = probe(path)
    assert [(a.language, a.title, a.default) for a in found.audio] == [
        ("eng", "Main", True),
        ("deu", "Kommentar", False),
    ]
    assert [(s.codec, s.language, s.title, s.forced) for s in found.subtitles] == [
        ("subrip", "eng", "Full", False),
        ("subrip", "fra", None, True),
    ]


def _sound(container: Any, language: str, title: str, default: bool) -> Any:
    stream = container.add_stream("aac", rate=make.RATE, layout="stereo")
    stream.metadata.update({"language": language, "title": title})
    stream.disposition = Disposition.default if default else Disposition(0)
    return stream


_ASS = b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name\nStyle: Default\n\n[Events]\nFormat: Layer\n"


def _text(container: Any, language: str, title: str, marks: tuple[Any, ...]) -> Any:
    stream = container.add_stream("subrip")
    stream.codec_context.subtitle_header = _ASS
    stream.metadata.update({"language": language, **({"title": title} if title else {})})
    for mark in marks:
        stream.disposition = mark
    return stream
