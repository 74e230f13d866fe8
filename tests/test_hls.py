"""HLS packages as other tools read them: playlists against files, pictures and sound against the source."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import media_factory as media
import numpy as np
import pytest
from hls_ladder import RATE, Ladder, flashes, flashing, laddered, times
from media_rendering import UNEVEN

from operators.media.hls import Job, Rung, Text, package
from operators.media.hls_codecs import codec_string, video_range
from operators.media.hls_playlists import Label
from schemas.errors import AssetError

SECONDS = 7
KIND = re.compile(r'([A-Z-]+)=("[^"]*"|[^,]*)')
Entry = tuple[float, int, int]


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Ladder:
    """Seven seconds with sound in two languages and subtitles: four segments, the last one short."""
    folder = tmp_path_factory.mktemp("ladder")
    texts = [Text("subtitles-0", "subtitles-0.vtt", Label("English", "en", forced=True))]
    made = laddered(flashing(folder / "clip.mkv", SECONDS), folder, texts, sounds=2)
    (made.folder / "subtitles-0.vtt").write_text("WEBVTT\n")
    return made


def lines(ladder: Ladder, name: str) -> list[str]:
    """A playlist's lines."""
    return (ladder.folder / name).read_text().splitlines()


def attributes(ladder: Ladder, tag: str, name: str = "hls.m3u8") -> list[dict[str, str]]:
    """The attributes of each such tag of a playlist."""
    found = [line.partition(":")[2] for line in lines(ladder, name) if line.startswith(f"#{tag}:")]
    return [{key: value.strip('"') for key, value in KIND.findall(one)} for one in found]


def entries(ladder: Ladder, name: str) -> tuple[str, int, list[Entry]]:
    """A media playlist's file, the bytes of its map, and (seconds, offset, bytes) of each segment."""
    (head,) = attributes(ladder, "EXT-X-MAP", name)
    text = "\n".join(lines(ladder, name))
    found = re.findall(r"#EXTINF:([\d.]+),\n#EXT-X-BYTERANGE:(\d+)@(\d+)\n(\S+)", text)
    assert {file for *_, file in found} == {head["URI"]}
    length, at = head["BYTERANGE"].split("@")
    assert at == "0"
    return head["URI"], int(length), [(float(s), int(offset), int(size)) for s, size, offset, _ in found]


def alone(ladder: Ladder, name: str, entry: Entry) -> list[Any]:
    """The frames that one segment of a playlist gives with nothing but the map."""
    file, head, _ = entries(ladder, name)
    data = (ladder.folder / file).read_bytes()
    with av.open(BytesIO(data[:head] + data[entry[1] : entry[1] + entry[2]])) as container:
        return list(container.decode(container.streams[0]))


def probed(path: Path, *show: str) -> dict[str, Any]:
    """What ffprobe says of a file or a playlist, its frames counted."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-of", "json", "-show_entries", ":".join(show), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.tool("ffprobe")
@pytest.mark.parametrize("rung", ["mezzanine", "preview"])
def test_ffprobe_reads_a_rendition(ladder: Ladder, rung: str) -> None:
    """Through its playlist every picture is there, from zero on; the key frames' one gives just these."""
    shown = "stream=codec_name,start_time,nb_read_frames"
    (stream,) = probed(ladder.folder / f"hls-{rung}.m3u8", shown)["streams"]
    expected = {"codec_name": "h264", "start_time": "0.000000", "nb_read_frames": str(SECONDS * RATE)}
    assert {key: stream[key] for key in expected} == expected
    (keys,) = probed(ladder.folder / f"hls-{rung}-iframes.m3u8", "frame=key_frame:stream=nb_read_frames")["streams"]
    assert int(keys["nb_read_frames"]) == len(entries(ladder, f"hls-{rung}-iframes.m3u8")[2])


@pytest.mark.tool("ffprobe")
def test_ffprobe_reads_the_whole(ladder: Ladder) -> None:
    """The master playlist gives two variants, each with a video and both languages, and the subtitles."""
    found = probed(ladder.folder / "hls.m3u8", "program=program_id:stream=codec_type,codec_name:stream_tags=language")
    assert len(found["programs"]) == 2
    kinds = [stream["codec_type"] for stream in found["streams"]]
    assert (kinds.count("video"), kinds.count("audio")) == (2, 2)


@pytest.mark.parametrize("name", ["hls-mezzanine", "hls-preview", "hls-audio", "hls-audio-2"])
def test_byte_ranges_are_the_file(ladder: Ladder, name: str) -> None:
    """Map and segments lie in the file one after another up to its end, none is longer than the target says, and they
    last as long as the source.
    """
    file, at, found = entries(ladder, f"{name}.m3u8")
    for _, offset, size in found:
        assert offset == at
        at += size
    assert at == (ladder.folder / file).stat().st_size
    (target,) = (int(line.partition(":")[2]) for line in lines(ladder, f"{name}.m3u8") if "TARGETDURATION" in line)
    assert all(int(seconds + 0.5) <= target for seconds, _, _ in found)
    assert sum(seconds for seconds, _, _ in found) == pytest.approx(SECONDS, abs=0.03)
    assert lines(ladder, f"{name}.m3u8")[-1] == "#EXT-X-ENDLIST"


def test_segments_are_aligned_and_need_no_neighbour(ladder: Ladder) -> None:
    """With the map alone each segment begins with a key frame at its playlist's time, the same in all renditions, and
    holds all its pictures.
    """
    at = 0.0
    both = [entries(ladder, f"hls-{rung}.m3u8")[2] for rung in ("mezzanine", "preview")]
    assert [s for s, _, _ in both[0]] == [s for s, _, _ in both[1]]
    assert len(both[0]) == ladder.made.segments == 4
    for segments in zip(*both, strict=True):
        for rung, segment in zip(("mezzanine", "preview"), segments, strict=True):
            frames = alone(ladder, f"hls-{rung}.m3u8", segment)
            assert frames[0].key_frame
            numbers = [media.number_of(frame) for frame in frames]
            assert numbers == list(range(round(at * RATE), round((at + segment[0]) * RATE)))
            assert [round(frame.time * RATE, 6) for frame in frames] == numbers
        at += segments[0][0]


def test_sound_is_cut_where_the_pictures_are(ladder: Ladder) -> None:
    """Each segment of the sound begins less than one AAC frame after the picture's."""
    pictures, sounds = (entries(ladder, f"hls-{name}.m3u8")[2] for name in ("mezzanine", "audio"))
    assert len(pictures) == len(sounds)
    ahead = np.cumsum([s for s, _, _ in sounds]) - np.cumsum([s for s, _, _ in pictures])
    assert (ahead[:-1] >= -1e-6).all() and (ahead[:-1] < 1024 / media.RATE).all()


def test_key_frames_are_whole_fragments(ladder: Ladder) -> None:
    """Each byte range of the I-frame playlist is one key frame that decodes alone, and lasts until the next one."""
    at = 0.0
    for entry in entries(ladder, "hls-preview-iframes.m3u8")[2]:
        (frame,) = alone(ladder, "hls-preview-iframes.m3u8", entry)
        assert frame.key_frame and media.number_of(frame) == round(at * RATE)
        at += entry[0]
    assert at == pytest.approx(SECONDS)


@pytest.mark.tool("ffprobe")
def test_the_master_playlist_tells_the_truth(ladder: Ladder) -> None:
    """Codecs, size and rate are the files' own, and no segment needs more bits than are announced."""
    low, high = attributes(ladder, "EXT-X-STREAM-INF")
    for variant, rung, size in ((low, "preview", "160x90"), (high, "mezzanine", "320x180")):
        file, _, segments = entries(ladder, f"hls-{rung}.m3u8")
        (stream,) = probed(ladder.folder / file, "stream=level,profile")["streams"]
        assert stream["profile"] == "High"
        assert variant["CODECS"] == f"avc1.6400{stream['level']:02X},mp4a.40.2"
        assert (variant["RESOLUTION"], variant["FRAME-RATE"], variant["VIDEO-RANGE"]) == (size, "25.000", "SDR")
        sound = [8 * b / s for s, _, b in entries(ladder, "hls-audio.m3u8")[2] if s >= 1]
        peak = max(8 * b / s for s, _, b in segments if s >= 1) + max(sound)
        assert float(variant["BANDWIDTH"]) >= peak - 2
        mean = 8 * sum(b for *_, b in segments) / SECONDS
        assert mean < float(variant["AVERAGE-BANDWIDTH"]) <= float(variant["BANDWIDTH"]) < 1.5 * peak
    assert [one["URI"] for one in attributes(ladder, "EXT-X-I-FRAME-STREAM-INF")] == [
        "hls-preview-iframes.m3u8",
        "hls-mezzanine-iframes.m3u8",
    ]


def test_groups_have_a_rendition_for_each_language(ladder: Ladder) -> None:
    """Sound and subtitles are offered by name and BCP 47 language, one of the sounds by default."""
    first, second, text = attributes(ladder, "EXT-X-MEDIA")
    told = ("TYPE", "NAME", "LANGUAGE", "DEFAULT", "URI")
    assert [first[key] for key in told] == ["AUDIO", "English", "en", "YES", "hls-audio.m3u8"]
    assert [second[key] for key in told] == ["AUDIO", "Deutsch", "de", "NO", "hls-audio-2.m3u8"]
    assert [text[key] for key in told] == ["SUBTITLES", "English", "en", "NO", "hls-subtitles-0.m3u8"]
    assert (first["CHANNELS"], text["FORCED"]) == ("2", "YES")
    assert "subtitles-0.vtt" in lines(ladder, "hls-subtitles-0.m3u8")


def onsets(times_: Sequence[float]) -> list[float]:
    """Those times before which there was nothing for half a second."""
    return [b for a, b in pairwise([-1.0, *times_]) if b - a > 0.5]


def test_flash_and_beep_stay_together(ladder: Ladder) -> None:
    """Decoded from the delivered files, each flash is at its time, and each beep within 5 ms of it."""
    with av.open(str(ladder.folder / "hls-mezzanine-media.mp4")) as container:
        lit = [f.time for f in container.decode(video=0) if f.reformat(format="gray").to_ndarray()[150, 160] > 128]
    with av.open(str(ladder.folder / "hls-audio-media.m4a")) as container:
        blocks = [(frame.time, np.abs(frame.to_ndarray()[0])) for frame in container.decode(audio=0)]
    loud = [at + i / media.RATE for at, samples in blocks for i in np.flatnonzero(samples > 0.05)]
    assert onsets(lit) == pytest.approx(flashes(SECONDS), abs=0.001)
    assert onsets(loud) == pytest.approx(flashes(SECONDS), abs=0.005)


UNEVEN_CLIP = media.Clip(pts=UNEVEN, time_base=Fraction(1, 30), gop=15)
LATE_SOUND = media.Clip(pts=range(100), time_base=Fraction(1, 25), audio=media.tone(3, 0.1), audio_start=Fraction(1, 2))


@pytest.mark.parametrize(
    ("clip", "name"),
    [
        pytest.param(UNEVEN_CLIP, "uneven.mkv", id="uneven"),
        pytest.param(UNEVEN_CLIP, "uneven.mp4", id="uneven in MP4"),
        pytest.param(
            media.Clip(pts=range(50, 150), time_base=Fraction(1, 25), rotation=90), "late.mp4", id="late, turned"
        ),
        pytest.param(media.Clip(pts=range(5000, 5100), time_base=Fraction(1, 25)), "offset.ts", id="start offset"),
        pytest.param(LATE_SOUND, "sound.mkv", id="late sound"),
        pytest.param(
            media.Clip(pts=range(30, 130), time_base=Fraction(1, 25), audio=media.tone(4, 0.1)),
            "early.mkv",
            id="early sound",
        ),
    ],
)
def test_every_picture_keeps_its_time(clip: media.Clip, name: str, tmp_path: Path) -> None:
    """At any rate, offset and order of tracks, the pictures are the source's, at its times from the asset's zero."""
    source = media.write(tmp_path / name, clip)
    made = laddered(source, tmp_path / "made", sounds=int(clip.audio is not None), segment_s=1.0)
    expected = [float(time - made.plan.origin) for time in times(source)]
    for rung in ("mezzanine", "preview"):
        found = [float(time) for time in times(made.folder / f"hls-{rung}-media.mp4")]
        assert found == pytest.approx(expected, abs=float(made.plan.time_base))
    assert made.made.segments >= 2


def test_sound_that_outlasts_the_pictures_is_cut_too(tmp_path: Path) -> None:
    """Four seconds of pictures with ten of sound: no segment of the sound is much longer than the pictures'."""
    clip = media.Clip(pts=range(100), time_base=Fraction(1, 25), audio=media.tone(10, 0.1))
    made = laddered(media.write(tmp_path / "clip.mkv", clip), tmp_path / "made")
    found = [seconds for seconds, _, _ in entries(made, "hls-audio.m3u8")[2]]
    assert sum(found) == pytest.approx(10, abs=0.03)
    assert max(found) < 2 * max(seconds for seconds, _, _ in entries(made, "hls-preview.m3u8")[2])


def copied(tmp_path: Path, x264: str, gop: int) -> Ladder:
    """The ladder of a clip of eight seconds whose own pictures are the largest rendition."""
    clip = media.Clip(pts=range(8 * 24), gop=gop, x264=x264)
    source = media.write(tmp_path / "web.mp4", clip)
    return laddered(source, tmp_path / "made", copied=True, segment_s=1.0, sounds=0)


def test_a_sources_own_pictures_are_a_rendition(tmp_path: Path) -> None:
    """Where its key frames fit, a web-friendly source is copied by packets, in segments aligned with the rest."""
    made = copied(tmp_path, "bframes=2:b-adapt=0:scenecut=0:open-gop=0", 48)
    assert made.made.left_out == ()
    both = [[s for s, _, _ in entries(made, f"hls-{rung}.m3u8")[2]] for rung in ("mezzanine", "preview")]
    assert both[0] == both[1] == [2.0, 2.0, 2.0, 2.0]
    with av.open(str(made.source)) as old, av.open(str(made.folder / "hls-mezzanine-media.mp4")) as new:
        packets = [[(p.pts * p.time_base, bytes(p)) for p in c.demux(video=0) if p.size] for c in (old, new)]
    assert packets[0] == packets[1]


@pytest.mark.parametrize(
    ("x264", "gop"),
    [("bframes=2:b-adapt=0:scenecut=0:open-gop=1", 24), ("scenecut=0", 24 * 8)],
    ids=["open groups", "one key frame"],
)
def test_a_source_that_cannot_be_cut_is_left_out(x264: str, gop: int, tmp_path: Path) -> None:
    """With open groups or far too few key frames the ladder has the encoded renditions alone, and says so."""
    made = copied(tmp_path, x264, gop)
    assert made.made.left_out == ("mezzanine",)
    assert [one["RESOLUTION"] for one in attributes(made, "EXT-X-STREAM-INF")] == ["160x90"]
    assert made.made.longest <= 4.0


def test_a_source_whose_times_are_unusable_is_left_out(tmp_path: Path) -> None:
    """Two pictures at one time make no fragments; the encoded renditions are packaged all the same."""
    clip = media.write(tmp_path / "web.mkv", media.Clip(pts=range(48), x264="bframes=0"))
    doubled = tmp_path / "doubled.mkv"
    with av.open(str(clip)) as old, av.open(str(doubled), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size]
        later = [packet.pts for packet in packets[1:]]
        for number, packet in enumerate(packets):
            packet.pts, packet.stream = later[number] if number == 10 else packet.pts, stream
            new.mux(packet)
    encoded_ = laddered(clip, tmp_path / "made", sounds=0)
    rungs = (*encoded_.rungs, Rung("own", (doubled,), may_go=True))
    (tmp_path / "out").mkdir()
    assert package(Job(rungs, seconds=2.0), tmp_path / "out").left_out == ("own",)


def test_borders_that_are_asked_for_are_kept(ladder: Ladder, tmp_path: Path) -> None:
    """Segments begin at the first key frames from the wanted times on (ticks of the source's clock)."""
    made = package(Job(ladder.rungs, seconds=float(SECONDS), borders=(0, 1990, 4000)), tmp_path)
    assert made.segments == 3
    found = entries(replace(ladder, folder=tmp_path), "hls-preview.m3u8")[2]
    assert [seconds for seconds, _, _ in found] == [2.0, 2.0, 3.0]


def test_chunks_of_other_settings_are_refused(ladder: Ladder, tmp_path: Path) -> None:
    """One init segment cannot serve two encoders."""
    mixed = Rung("mixed", tuple(rung.chunks[0] for rung in ladder.rungs))
    with pytest.raises(AssetError) as raised:
        package(Job((mixed,), seconds=4.0), tmp_path)
    assert raised.value.code == "corrupt_media"


def encoded(path: Path, codec: str, pixels: str, transfer: int, count: int = 5) -> Path:
    """An MP4 of small pictures with a key frame a second, of BT.709 or of one of BT.2100's transfers."""
    options = {
        "libx264": {"preset": "ultrafast"},
        "libx265": {"x265-params": "log-level=none:open-gop=0"},
        "libsvtav1": {"preset": "12"},
    }
    with av.open(str(path), "w", format="mp4") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options[codec])
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 128, 128, pixels, 25
        context = stream.codec_context
        colour = (1, 1, 1) if transfer == 1 else (9, transfer, 9)
        context.color_primaries, context.color_trc, context.colorspace = colour
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(media.numbered(number, (128, 128)), "rgb24").reformat(format=pixels)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


CODECS = [
    ("libx264", "yuv420p", 1, ("avc1.42C00B", "SDR")),
    ("libx265", "yuv420p", 1, ("hvc1.1.6.L30.90", "SDR")),
    ("libx265", "yuv420p10le", 16, ("hvc1.2.4.L30.90", "PQ")),
    ("libx265", "yuv420p10le", 18, ("hvc1.2.4.L30.90", "HLG")),
    ("libsvtav1", "yuv420p", 1, ("av01.0.00M.08", "SDR")),
    ("libsvtav1", "yuv420p10le", 16, ("av01.0.00M.10.0.110.09.16.09.0", "PQ")),
]


@pytest.mark.parametrize(("codec", "pixels", "transfer", "expected"), CODECS)
def test_codecs_are_named(codec: str, pixels: str, transfer: int, expected: Sequence[str], tmp_path: Path) -> None:
    """Profile, level, tier, depth and range are read from the decoder's configuration."""
    with av.open(str(encoded(tmp_path / "clip.mp4", codec, pixels, transfer))) as container:
        stream = container.streams.video[0]
        assert (codec_string(stream), video_range(stream)) == expected


@pytest.mark.tool("ffprobe")
@pytest.mark.parametrize(
    ("codec", "pixels", "transfer", "told"),
    [
        ("libx265", "yuv420p10le", 16, ["hevc", "hvc1", "smpte2084"]),
        ("libsvtav1", "yuv420p", 1, ["av1", "av01", "bt709"]),
    ],
)
def test_other_codecs_are_packaged(codec: str, pixels: str, transfer: int, told: list[str], tmp_path: Path) -> None:
    """HEVC and AV1 keep their colour, all pictures and their times, and are cut each second."""
    source = encoded(tmp_path / "clip.mp4", codec, pixels, transfer, 60)
    made = package(Job((Rung("other", (source,)),), seconds=2.4, segment_s=1.0), tmp_path)
    assert made.segments == 3
    shown = "stream=codec_name,codec_tag_string,color_transfer,nb_read_frames"
    (stream,) = probed(tmp_path / "hls-other-media.mp4", shown)["streams"]
    assert [stream[key] for key in ("codec_name", "codec_tag_string", "color_transfer")] == told
    assert stream["nb_read_frames"] == "60"
    assert times(tmp_path / "hls-other-media.mp4") == pytest.approx([i / 25 for i in range(60)])
