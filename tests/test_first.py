"""The first segment that can be played, and the segments that follow it: what is in them, and when it is shown."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import media_factory as make
import pytest
from media_rendering import FAST, UNEVEN, planned, rendered

from operators.media.audio import render_audio
from operators.media.chunks import read_timeline
from operators.media.first import FirstSegment, first_segment, head_of, probe_of
from operators.media.probe import quick_probe
from operators.media.segments import Entry, cut, event_playlist
from operators.media.source import Media
from schemas.errors import AssetError
from schemas.pipelines import AudioParams, Limits, PreviewParams, VideoEncode, VideoParams

SMALL = VideoParams(
    mezzanine=VideoEncode(height=180, crf=21, gop_s=2.0), preview=VideoEncode(height=90, crf=26, gop_s=1.0)
)


def first_of(media: Media, video: VideoParams = SMALL) -> FirstSegment:
    """The first segment of a file, whose probe of the packets that it is made of says what the file's own says."""
    with head_of(media) as head:
        assert head is not None
        technical = probe_of(head, media, Limits())
        assert technical == quick_probe(media, "video", Limits())
        return first_segment(head, technical, video, AudioParams(), PreviewParams())


def written(folder: Path, found: FirstSegment, name: str = "first.mp4") -> Path:
    """Initialization and media in one file, as a player puts them together."""
    path = folder / name
    path.write_bytes(found.init + found.media)
    return path


KINDS: dict[str, make.Clip] = {
    "constant": make.Clip(),
    "sound": make.Clip(audio=make.tone(4, 0.2)),
    "variable": make.Clip(pts=UNEVEN),
    "start_offset": make.Clip(pts=range(90, 186)),
    "b_frames": make.Clip(x264="bframes=5:b-pyramid=normal:b-adapt=0:scenecut=0", pixel_format="yuv444p"),
    "rotated": make.Clip(rotation=90, pixel_format="yuv444p"),
    "interlaced": make.Clip(interlaced=True),
    "anamorphic": make.Clip(pixel_aspect="2/1"),
    "ten_bit": make.Clip(pixel_format="yuv420p10le"),
    "short": make.Clip(pts=range(40)),
    "long_gop": make.Clip(gop=250),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_segment_has_the_first_pictures_at_their_times(tmp_path: Path, kind: str) -> None:
    """Every picture up to the segment's end is there once, in its order, upright and at its time."""
    source = make.write(tmp_path / f"source.{'mkv' if kind == 'start_offset' else 'mp4'}", KINDS[kind])
    found = first_of(source)
    shown = make.shown(written(tmp_path, found), -1 if kind == "rotated" else 0)
    with av.open(str(source)) as container:
        whole = container.streams.video[0].frames
    timeline = read_timeline(source)
    end = timeline.end if timeline.first_cut is None else timeline.first_cut
    expected = [pts for pts in timeline.pictures if pts < end]
    assert found.pictures == len(shown) == len(expected) and found.whole == (kind == "short") == (len(shown) == whole)
    times = [timeline.seconds(pts) for pts in expected]
    assert max(abs(float(at) - time) for (at, _), time in zip(shown, times, strict=True)) < 1e-4
    assert [number for _, number in shown] == list(range(len(shown)))
    assert found.end == pytest.approx(timeline.seconds(end)) and 1.5 <= found.end <= 3


@pytest.mark.parametrize("kind", ["anamorphic", "rotated"])
def test_the_first_segment_is_upright_with_square_pixels(tmp_path: Path, kind: str) -> None:
    """A phone's rotation and wide pixels are carried out, not carried on."""
    found = first_of(make.write(tmp_path / "source.mp4", KINDS[kind]))
    with av.open(str(written(tmp_path, found))) as container:
        video = container.streams.video[0]
        expected = (90, 160) if kind == "rotated" else (320, 90)
        assert (video.width, video.height) == expected and video.sample_aspect_ratio in (None, 1)
        assert not next(container.decode(video)).rotation


def test_hdr_becomes_standard_range(tmp_path: Path) -> None:
    """A PQ source's first segment is 8-bit and tagged BT.709."""
    clip = make.Clip(pts=range(24), pixel_format="yuv420p10le", tags=(9, 16, 9))
    found = first_of(make.write(tmp_path / "source.mp4", clip))
    with av.open(str(written(tmp_path, found))) as container:
        frame = next(container.decode(video=0))
        assert (frame.format.name, frame.colorspace, frame.color_trc) == ("yuv420p", 1, 1)


@pytest.mark.parametrize("codec", ["aac", "ac3", "pcm_s16le"])
def test_sound_and_pictures_start_together(tmp_path: Path, codec: str) -> None:
    """The encoder's priming is declared: the sound begins with the pictures, within a sample, and lasts as long."""
    source = tmp_path / "source.mov"
    clip = make.write(tmp_path / "clip.mp4", make.Clip(audio=make.tone(4, 0.2), pixel_format="yuv444p"))
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", clip, "-c:v", "copy", "-c:a", codec, source], check=True
    )  # fmt: skip
    found = first_of(source)
    with av.open(str(written(tmp_path, found))) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        frames = list(container.decode(sound))
        starts = [stream.start_time * stream.time_base for stream in (video, sound)]
    samples = sum(frame.samples for frame in frames)
    assert abs(starts[0] - starts[1]) < Fraction(1, 100) and frames[0].pts == 0
    assert samples / 48_000 == pytest.approx(float(found.end), abs=0.022)


def test_a_web_friendly_source_s_own_packets_are_its_first_segment(tmp_path: Path) -> None:
    """They are copied where a key frame of a closed group is near, and not too many bytes; else they are encoded."""
    copied = first_of(make.write(tmp_path / "closed.mp4", make.Clip(audio=make.tone(4, 0.2))))
    assert copied.copied and copied.end == 2
    with av.open(str(written(tmp_path, copied))) as container:
        assert container.streams.video[0].height == 180
    open_gop = "open-gop=1:bframes=3:b-adapt=0:scenecut=0:keyint=12:min-keyint=12"
    others = {"open": make.Clip(x264=open_gop), "long": make.Clip(gop=250), "turned": make.Clip(rotation=90)}
    for name, clip in others.items():
        assert not first_of(make.write(tmp_path / f"{name}.mp4", clip)).copied, name
    source = make.write(tmp_path / "large.mp4", make.Clip(size=(640, 360), gop=12))
    tight = SMALL.model_copy(update={"mezzanine": VideoEncode(height=360, crf=21, gop_s=2.0)})
    assert first_of(source, tight).copied and not first_of(source).copied


def test_sound_whose_frames_have_no_times_is_heard(tmp_path: Path) -> None:
    """Decoders of Windows Media leave times out: the sound is there from its start, as long as the pictures."""
    clip = make.Clip(codec="wmv2", audio=make.tone(4, 0.2), sound_codec="wmav2")
    found = first_of(make.write(tmp_path / "source.wmv", clip))
    with av.open(str(written(tmp_path, found))) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert samples / make.RATE == pytest.approx(float(found.end), abs=0.06)


def test_a_tape_is_cut_where_it_should_be(tmp_path: Path) -> None:
    """Raw DV, all of whose pictures are key frames and which has no index: each picture is there once, in its chunk."""
    tape = tmp_path / "tape.dv"
    with av.open(str(tape), "w") as container:
        pictures = container.add_stream("dvvideo", rate=25, width=720, height=576, pix_fmt="yuv420p")
        for number in range(100):
            frame = av.VideoFrame.from_ndarray(make.numbered(number, (720, 576)), "rgb24")
            frame.pts = number
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
    plan = planned(tape)
    assert len(plan.chunks) > 2 and 1.5 <= first_of(tape).end <= 3
    joined, _ = rendered(tape, tmp_path / "chunks", plan)
    assert [number for _, number in make.shown(joined)] == list(range(100))


def test_damage_in_the_first_seconds_is_an_error(tmp_path: Path) -> None:
    """Nothing is shown of a video whose first pictures cannot be decoded."""
    source = make.write(tmp_path / "source.mp4", make.Clip(pixel_format="yuv444p"))
    with av.open(str(source)) as container:
        second = [p for p in container.demux(video=0) if p.size and p.is_keyframe][1]
        place, size = second.pos, second.size
    data = bytearray(source.read_bytes())
    data[place + 10 : place + size] = bytes(size - 10)
    source.write_bytes(data)
    with pytest.raises(AssetError, match="corrupt_media"):
        first_of(source)


@pytest.mark.parametrize("kind", ["sound", "variable", "start_offset", "long_gop"])
def test_segments_of_chunks_follow_the_first_without_a_gap(tmp_path: Path, kind: str) -> None:
    """First segment and segments of the chunks show every picture once, at its time, and all of the sound."""
    suffix = "mkv" if kind == "start_offset" else "mp4"
    source = make.write(tmp_path / f"source.{suffix}", KINDS[kind])
    begin, plan, sound = first_of(source, FAST), planned(source), None
    if kind == "sound":
        render_audio(source, tmp_path, AudioParams(), PreviewParams(), ["preview"])
        sound = tmp_path / "preview.m4a"
    _, results = rendered(source, tmp_path, plan)
    parts = []
    for (_, stop), result in zip(plan.chunks, results, strict=True):
        end = plan.seconds(stop) if stop is not None else plan.duration
        ends = Fraction(end).limit_denominator(100_000), stop is None
        parts.append(cut(tmp_path / dict(result.encodes)["preview"], sound, plan.origin, begin.end, None, *ends))
    inits = {part.init for part in parts if part.segments}
    assert len(inits) == 1 and bool(parts[0].segments) == (kind == "long_gop")
    assert all(part.segments[-1].offset + part.segments[-1].bytes == len(part.media) for part in parts if part.segments)
    grown = tmp_path / "grown.mp4"
    grown.write_bytes(inits.pop() + b"".join(part.media for part in parts))
    shown = make.shown(grown)
    source_shown = make.shown(source)
    assert [number for _, number in shown] == [number for _, number in source_shown[begin.pictures :]]
    with av.open(str(grown)) as container:
        tick = container.streams.video[0].time_base
    wanted = [at - plan.origin + 2 * tick for at, _ in source_shown[begin.pictures :]]
    assert max(abs(float(a - b)) for (a, _), b in zip(shown, wanted, strict=True)) < 1e-4
    lasting = float(begin.end) + sum(s.seconds for part in parts for s in part.segments)
    assert lasting == pytest.approx(plan.duration, abs=1e-3)
    if sound:
        _check_sound(grown, sound, float(begin.end), 2 * tick)


def _check_sound(grown: Path, sound: Path, begin: float, late: Fraction) -> None:
    """The sound's packets from `begin` (s) on are there, each once and as much later as the pictures."""
    with av.open(str(sound)) as whole, av.open(str(grown)) as cut_:
        wanted = [p.pts for p in whole.demux(audio=0) if p.size and (p.pts + 512) / 48_000 >= begin]
        found = [p.pts - round(late * 48_000) for p in cut_.demux(audio=0) if p.size]
    assert found == wanted and abs(found[0] / 48_000 - begin) < 0.011


def test_an_event_playlist_only_grows() -> None:
    """Another initialization is a discontinuity; nothing that was said is taken back; the end is said at the end."""
    entries = [
        Entry("first.m4s", "a.mp4", 2.0),
        Entry("b.m4s", "b.mp4", 4.0, (0, 10)),
        Entry("b.m4s", "b.mp4", 3.0, (10, 5)),
    ]
    texts = [event_playlist(entries[: n + 1], ended=n == 2).splitlines() for n in range(3)]
    assert all(longer[: len(text)] == text for text, longer in pairwise(texts))
    assert texts[2].count("#EXT-X-DISCONTINUITY") == 1 and texts[2].count('#EXT-X-MAP:URI="b.mp4"') == 1
    assert "#EXT-X-BYTERANGE:5@10" in texts[2] and texts[2][-1] == "#EXT-X-ENDLIST" and texts[1][-1] != texts[2][-1]
