"""Chunks, renditions and joining: what is shown, when, and in which colour."""

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path

import av
import media_factory as make
import numpy as np
import pytest
from media_rendering import FAST, UNEVEN, planned, rendered
from PIL import Image

from operators.media.audio import render_audio
from operators.media.chunks import plan_chunks, read_timeline
from operators.media.join import join, remux
from operators.media.probe import quick_probe
from operators.media.video import render_chunk
from schemas.errors import AssetError
from schemas.pipelines import AudioParams, Limits, PreviewParams, VideoEncode, VideoParams


def test_the_timeline_knows_rate_and_pictures(tmp_path: Path) -> None:
    """Constant and variable rates are told apart by all pictures, and a picture is found by time."""
    even = read_timeline(make.write(tmp_path / "c.mp4"))
    uneven = read_timeline(make.write(tmp_path / "v.mp4", make.Clip(pts=UNEVEN)))
    rounded = read_timeline(make.write(tmp_path / "ms.mkv"))
    assert not even.variable and uneven.variable and not rounded.variable
    assert even.rate == 24 and even.duration == pytest.approx(4.0)
    assert even.seconds(even.shown_at(1.99)) == pytest.approx(47 / 24)
    assert even.shown_at(-1) == even.first and even.shown_at(99) == even.last


def test_chunks_run_from_key_frame_to_key_frame_and_shorten_towards_the_end() -> None:
    """Borders lie on key frames, the ends are open, and the last chunks are short so that workers end together."""
    long = ((None, 30), (30, 60), (60, 90), (90, 120), (120, 140), (140, 160), (160, 170))
    ranges = plan_chunks(range(0, 200, 10), 200, Fraction(1), 25)
    assert ranges == (*long, (170, 180), (180, 190), (190, None))
    assert plan_chunks([7], 100, Fraction(1), 25) == ((None, None),)
    assert plan_chunks(range(0, 20, 10), 20, Fraction(1), 100) == ((None, None),)


def test_results_and_plans_travel_between_processes(tmp_path: Path) -> None:
    """Plan and result are values that survive pickling."""
    plan = planned(make.write(tmp_path / "c.mp4", make.Clip(pts=range(12))))
    result = render_chunk(tmp_path / "c.mp4", tmp_path, plan, None, None)
    assert pickle.loads(pickle.dumps((plan, result))) == (plan, result)


def test_only_the_outputs_asked_for_are_made(tmp_path: Path) -> None:
    """A plan for a subset makes nothing else."""
    path = make.write(tmp_path / "c.mp4", make.Clip(pts=range(24)))
    plan = planned(path)
    for asked in ({"storyboard"}, {"preview"}, {"poster", "stills"}, {"shots"}):
        result = render_chunk(path, tmp_path, plan.only(asked), None, None)
        made = {name for name, _ in result.encodes}
        made |= {n for n in ("tiles", "stills", "poster", "strip") if getattr(result.kept, n)}
        names = {"storyboard": "tiles", "shots": "strip"}
        assert made == {names.get(name, name) for name in asked}


@pytest.mark.parametrize(
    ("fields", "height", "size"),
    [
        ({"size": (320, 180)}, 1080, (320, 180)),
        ({"size": (320, 180)}, 90, (160, 90)),
        ({"size": (180, 320)}, 90, (90, 160)),
        ({"size": (320, 180), "rotation": 90}, 180, (180, 320)),
        ({"size": (323, 181), "pixel_format": "yuv444p"}, 1080, (322, 180)),
        ({"size": (320, 180), "pixel_aspect": "4/3"}, 1080, (426, 180)),
        ({"size": (320, 180), "pixel_aspect": "3/4"}, 1080, (240, 180)),
    ],
)
def test_renditions_stand_upright_with_square_pixels(
    tmp_path: Path, fields: dict, height: int, size: tuple[int, int]
) -> None:
    """The shorter side is bounded, sizes are even, nothing is enlarged, rotation and pixel aspect are gone."""
    path = make.write(tmp_path / "c.mp4", make.Clip(pts=range(6), **fields))
    encode = VideoEncode(height=height, crf=30, gop_s=1, preset="ultrafast")
    out, _ = rendered(path, tmp_path / "o", planned(path, VideoParams(mezzanine=encode)))
    video = quick_probe(out, "video", Limits()).video
    assert video is not None and (video.width, video.height) == size
    assert (video.rotation, video.pixel_aspect, video.pixel_format) == (0, "1/1", "yuv420p")


@pytest.mark.parametrize(
    ("fields", "tags"),
    [
        ({"tags": (1, 1, 1)}, "bt709"),
        ({"tags": (6, 6, 6)}, "smpte170m"),
        ({"tags": (2, 2, 2)}, "smpte170m"),
        ({"tags": (1, 1, 1), "full_range": True, "pixel_format": "yuvj420p"}, "bt709"),
        ({"tags": (1, 1, 1), "pixel_format": "yuv420p10le"}, "bt709"),
        ({"tags": (6, 6, 6), "pixel_format": "yuv444p"}, "smpte170m"),
    ],
)
def test_colour_is_carried(tmp_path: Path, fields: dict, tags: str) -> None:
    """Renditions are tagged with the source's colour in limited range, and poster and tile show that colour."""
    wanted = (200, 40, 60)
    path = make.write(tmp_path / "c.mp4", make.Clip(pts=range(24), colour=wanted, **fields))
    out, results = rendered(path, tmp_path / "o", planned(path))
    video = quick_probe(out, "video", Limits()).video
    assert video is not None and (video.primaries, video.matrix, video.range) == (tags, tags, "limited")
    kept = results[0].kept
    assert kept.poster is not None
    for name in (kept.poster[0], kept.tiles[0][1], kept.stills[0][1]):
        seen = np.asarray(Image.open(tmp_path / "o" / name).convert("RGB")).mean(axis=(0, 1))
        assert np.abs(seen - wanted).max() < 8


def test_hdr_is_delivered_as_bt709(tmp_path: Path) -> None:
    """A PQ source becomes 8-bit BT.709 and says so."""
    wide = make.Clip(pts=range(6), pixel_format="yuv420p10le", tags=(9, 16, 9))
    path = make.write(tmp_path / "pq.mp4", wide)
    out, _ = rendered(path, tmp_path / "o", planned(path))
    video = quick_probe(out, "video", Limits()).video
    assert video is not None and (video.primaries, video.transfer, video.hdr) == ("bt709", "bt709", "none")
    assert video.bit_depth == 8


def test_renditions_have_the_key_frames_asked_for(tmp_path: Path) -> None:
    """Key frames are no further apart than the parameters say, in seconds."""
    path = make.write(tmp_path / "c.mp4")
    _, results = rendered(path, tmp_path / "o", planned(path, FAST.model_copy(update={"chunk_s": 60.0})))
    with av.open(str(tmp_path / "o" / dict(results[0].encodes)["preview"])) as container:
        keys = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.size and p.is_keyframe]
    assert keys == pytest.approx([0, 1, 2, 3])


@pytest.mark.parametrize("delay", [0.25, -0.25])
def test_sound_stays_in_time_with_the_picture(tmp_path: Path, delay: float) -> None:
    """A click that sounds with a picture still does after chunking, normalising and joining."""
    start = Fraction(90, 24)
    samples = make.tone(4, 0.02)
    click = round((2.0 - delay) * make.RATE)
    samples[:, click : click + 480] = 0.5
    fields = {"pts": range(90, 186), "audio": samples, "audio_start": start + Fraction(delay)}
    path = make.write(tmp_path / "c.mkv", make.Clip(**fields))
    audio = render_audio(path, tmp_path, AudioParams(), PreviewParams(), {"audio"})
    out, _ = rendered(path, tmp_path / "o", planned(path), audio=tmp_path / dict(audio.files)["audio"])
    picture = next(time for time, number in make.shown(out) if number == 48)
    with av.open(str(out)) as container:
        frames = list(container.decode(container.streams.audio[0]))
    sound = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    first = float(frames[0].pts * frames[0].time_base)
    heard = first + int(np.argmax(np.abs(sound) > 0.6 * np.abs(sound).max())) / make.RATE
    assert heard == pytest.approx(float(picture), abs=0.004)


def test_the_joined_file_starts_at_once(tmp_path: Path) -> None:
    """The index stands before the media, and the audio's priming is declared."""
    path = make.write(tmp_path / "c.mp4", make.Clip(audio=make.tone(4, 0.2)))
    audio = render_audio(path, tmp_path, AudioParams(), PreviewParams(), {"audio"})
    out, _ = rendered(path, tmp_path / "o", planned(path), audio=tmp_path / dict(audio.files)["audio"])
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(out)) as container:
        streams = container.streams
        assert streams.audio[0].start_time == 0 and streams.video[0].start_time == 0


def test_remuxing_keeps_packets_and_drops_tags(tmp_path: Path) -> None:
    """A web-friendly source keeps its pictures bit by bit, loses its tags, and takes the new sound."""
    source = make.write(tmp_path / "plain.mp4", make.Clip(audio=make.tone(4, 0.2)))
    with av.open(str(source)) as old, av.open(str(tmp_path / "c.mp4"), "w") as new:
        new.metadata["location"] = "+52.5+013.4/"
        new.metadata["title"] = "secret"
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams}
        for packet in old.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    audio = render_audio(source, tmp_path, AudioParams(), PreviewParams(), {"audio"})
    assert "title" in quick_probe(tmp_path / "c.mp4", "video", Limits()).tags
    for name, sound in (("a.mp4", None), ("b.mp4", tmp_path / dict(audio.files)["audio"])):
        out = tmp_path / name
        remux(tmp_path / "c.mp4", out, sound)
        found = quick_probe(out, "video", Limits())
        assert not {"title", "location"} & set(found.tags) and len(found.audio) == 1
        assert make.shown(out) == make.shown(source)
        assert b"secret" not in out.read_bytes() and b"+52.5" not in out.read_bytes()


def test_chunks_of_different_settings_are_not_joined(tmp_path: Path) -> None:
    """Joining refuses chunks whose headers differ, and chunks that overlap."""
    path = make.write(tmp_path / "c.mp4", make.Clip(pts=range(24)))
    plan = planned(path)
    parts = []
    for name, one in (("a", plan), ("b", planned(path, FAST.model_copy(update={"mezzanine": FAST.preview})))):
        (tmp_path / name).mkdir()
        result = render_chunk(path, tmp_path / name, one.only({"mezzanine"}), None, None)
        parts.append(tmp_path / name / dict(result.encodes)["mezzanine"])
    with pytest.raises(AssetError, match="share a time"):
        join([parts[0], parts[0]], None, tmp_path / "x.mp4", plan.origin)
    with pytest.raises(AssetError):
        join(parts, None, tmp_path / "y.mp4", plan.origin)


def test_damage_inside_a_chunk_is_an_error_with_its_time(tmp_path: Path) -> None:
    """A picture that cannot be decoded fails the chunk that shows it, and no other."""
    path = make.write(tmp_path / "c.mp4")
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        hit = packets[60]
        at, position, size = float(hit.pts * hit.time_base), hit.pos, hit.size
    data = bytearray(path.read_bytes())
    data[position + 8 : position + size] = bytes(size - 8)
    path.write_bytes(data)
    plan = planned(path)
    failed = []
    for one in plan.chunks:
        try:
            render_chunk(path, tmp_path, plan, *one)
        except AssetError as error:
            failed.append((one, error))
    assert len(failed) == 1 and failed[0][1].code == "corrupt_media"
    start, stop = failed[0][0]
    assert (start or 0) * plan.time_base <= at < (stop or 1 << 60) * plan.time_base
    assert f"{at:.3f}" in failed[0][1].detail


def test_a_video_without_sound_or_pictures_has_a_code(tmp_path: Path) -> None:
    """Asking for what is not there is no_media_stream."""
    video = make.write(tmp_path / "v.mp4", make.Clip(pts=range(6)))
    sound = make.write_sound(tmp_path / "a.wav", make.tone(1, 0.2))
    with pytest.raises(AssetError, match="no_media_stream"):
        render_audio(video, tmp_path, AudioParams(), PreviewParams())
    with pytest.raises(AssetError, match="no_media_stream"):
        read_timeline(sound)
