"""Technical metadata from the header, and how damaged files are told apart."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import media_factory as make
import pytest

from operators.media.integrity import check_media
from operators.media.probe import quick_probe, web_friendly
from schemas.errors import AssetError
from schemas.pipelines import Limits, VideoEncode, VideoParams
from schemas.technical import Technical

SAMPLES = Path(__file__).parent.parent / "samples"


def probe(path: Path, kind: str = "video", limits: Limits | None = None) -> Technical:
    return quick_probe(path, kind, limits or Limits())  # type: ignore[arg-type]


def code_of(path: Path, kind: str = "video", limits: Limits | None = None) -> str:
    with pytest.raises(AssetError) as caught:
        probe(path, kind, limits)
    return caught.value.code


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe")
    return make.write(folder / "clip.mp4", make.Clip(audio=make.tone(4, 0.2)))


def test_a_video_is_described_by_its_header(clip: Path) -> None:
    """Codecs, sizes, rate, colour and sound are those with which the clip was made."""
    found = probe(clip)
    video, audio = found.video, found.audio[0]
    assert found.kind == "video" and found.duration == pytest.approx(4.0, abs=0.05)
    assert video is not None and (video.codec, video.width, video.height) == ("h264", 320, 180)
    assert (video.pixel_format, video.bit_depth, video.pixel_aspect) == ("yuv420p", 8, "1/1")
    assert (video.frame_rate, video.cadence) == ("24/1", "constant")
    assert (video.primaries, video.transfer, video.matrix, video.range) == ("bt709", "bt709", "bt709", "limited")
    assert (audio.codec, audio.profile, audio.channels, audio.layout) == ("aac", "LC", 2, "stereo")
    assert audio.sample_rate == 48000


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_rotation_is_told_clockwise(tmp_path: Path, degrees: int) -> None:
    """A display matrix that turns counterclockwise is the complementary clockwise rotation."""
    path = make.write(tmp_path / "turned.mp4", make.Clip(pts=range(4), rotation=degrees))
    video = probe(path).video
    assert video is not None and video.rotation == 360 - degrees and not video.mirrored


def test_colour_and_depth_are_named_by_h273(tmp_path: Path) -> None:
    """A 10-bit clip tagged BT.2020 with PQ is told as HDR."""
    wide = make.Clip(pts=range(4), pixel_format="yuv420p10le", tags=(9, 16, 9))
    video = probe(make.write(tmp_path / "pq.mp4", wide)).video
    assert video is not None and (video.bit_depth, video.hdr) == (10, "pq")
    assert (video.primaries, video.transfer, video.matrix) == ("bt2020", "smpte2084", "bt2020nc")


def test_pixel_aspect_range_and_interlace_are_seen(tmp_path: Path) -> None:
    """Anamorphic pixels, full range and interlaced coding are told."""
    odd = make.Clip(pts=range(4), pixel_aspect="16/11", full_range=True, interlaced=True)
    video = probe(make.write(tmp_path / "odd.mp4", odd)).video
    assert video is not None
    assert (video.pixel_aspect, video.range, video.interlaced) == ("16/11", "full", True)


def test_a_variable_rate_is_told_from_the_header(tmp_path: Path) -> None:
    """An MP4 whose mean rate is not its nominal rate is variable; formats without an index are unknown."""
    uneven = make.Clip(pts=[i if i < 24 else 24 + (i - 24) * 3 for i in range(48)])
    mp4, mkv = (probe(make.write(tmp_path / f"v.{kind}", uneven)).video for kind in ("mp4", "mkv"))
    assert mp4 is not None and mp4.cadence == "variable"
    assert mkv is not None and mkv.cadence == "unknown"


def test_an_edit_list_that_hides_the_first_pictures_is_no_error(tmp_path: Path) -> None:
    """The first shown picture may come long after the first coded one."""
    source = make.write(tmp_path / "s.mp4", make.Clip(gop=250, pts=range(200)))
    ticks = 150 * 512
    assert probe(make.copy(source, tmp_path / "cut.mp4", shift=ticks)).video is not None


@pytest.mark.parametrize(
    ("change", "friendly"),
    [
        ({}, True),
        ({"rotation": 90}, False),
        ({"pixel_aspect": "4/3"}, False),
        ({"pixel_format": "yuv444p"}, False),
        ({"pixel_format": "yuv420p10le"}, False),
        ({"interlaced": True}, False),
        ({"tags": (9, 1, 9)}, False),
        ({"audio": None}, True),
    ],
)
def test_only_what_browsers_play_is_web_friendly(tmp_path: Path, change: dict, friendly: bool) -> None:
    """H.264 High 4:2:0, upright, square, progressive, with AAC stereo or silent, in MP4."""
    base = {"pts": range(12), "audio": make.tone(0.5, 0.1)}
    path = make.write(tmp_path / "c.mp4", make.Clip(**(base | change)))
    assert web_friendly(probe(path), VideoParams()) is friendly


def test_too_tall_or_not_mp4_is_not_web_friendly(clip: Path, tmp_path: Path) -> None:
    """A video above the mezzanine's height, or in Matroska, is encoded anew."""
    small = VideoParams(mezzanine=VideoEncode(height=120, crf=21, gop_s=2.0))
    assert not web_friendly(probe(clip), small)
    assert not web_friendly(probe(make.copy(clip, tmp_path / "c.mkv")), VideoParams())


def test_an_mp4_with_cover_art_is_audio(tmp_path: Path) -> None:
    """Cover art is no video track."""
    found = probe(make.write_with_cover(tmp_path / "song.m4a", make.tone(1, 0.2)))
    assert found.kind == "audio" and found.video is None and len(found.audio) == 1


def test_the_probe_does_not_read_a_long_file_through(tmp_path: Path) -> None:
    """Of an hour of sound, 345 MB, less than a hundredth is read."""
    hour = make.write_sound(tmp_path / "hour.wav", make.tone(1, 0.1, channels=1), "mono", "pcm_s16le")
    data = bytearray(hour.read_bytes())
    at, length = data.index(b"data") + 4, 3600 * 48_000 * 2
    data[at : at + 4] = length.to_bytes(4, "little")
    data[4:8] = (at - 4 + length).to_bytes(4, "little")
    hour.write_bytes(data)
    with hour.open("r+b") as file:
        file.truncate(at + 4 + length)
    before = bytes_read()
    found = probe(hour, "audio")
    assert found.duration == pytest.approx(3600)
    assert bytes_read() - before < length / 100


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


def test_bad_files_have_their_own_codes(clip: Path, tmp_path: Path) -> None:
    """Empty, text under a video's name, and files without audio or video are told apart."""
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("These are words, not a film.\n" * 50)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:4,\n/etc/passwd\n#EXT-X-ENDLIST\n")
    assert code_of(tmp_path / "empty.mp4") == "empty_file"
    assert code_of(tmp_path / "text.mp4") == "unreadable_header"
    assert code_of(tmp_path / "list.m3u8") == "unreadable_header"
    silent = make.copy(clip, tmp_path / "silent.mp4")
    assert code_of(silent, "audio") == "no_media_stream"


@pytest.mark.parametrize("faststart", [True, False])
def test_a_cut_mp4_is_truncated(clip: Path, tmp_path: Path, faststart: bool) -> None:
    """An MP4 that ends early is told apart from one that is damaged, wherever its index is."""
    whole = make.copy(clip, tmp_path / "w.mp4", **({"movflags": "+faststart"} if faststart else {}))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    assert code_of(cut) == "truncated"


def test_a_video_must_begin_with_a_key_frame(clip: Path, tmp_path: Path) -> None:
    """A cut in the middle of a group of pictures is refused."""
    assert code_of(make.copy(clip, tmp_path / "late.mp4", skip=3)) == "no_key_frame"
    assert code_of(make.copy(clip, tmp_path / "late.mkv", skip=3)) == "no_key_frame"


def test_limits_are_held(clip: Path) -> None:
    """Media longer or larger than the limits is refused before any picture is decoded."""
    assert code_of(clip, limits=Limits(seconds=3)) == "too_long"
    assert code_of(clip, limits=Limits(pixels=1000)) == "too_many_pixels"


def test_integrity_counts_what_it_decoded(clip: Path) -> None:
    """All pictures are seen, the key frames decoded, and the sound decoded to its end."""
    found = check_media(clip)
    assert (found.pictures, found.key_frames) == (96, 8)
    assert found.video_seconds == pytest.approx(4.0)
    assert found.audio_seconds == pytest.approx(4.0, abs=0.05)


def test_integrity_finds_damage_and_its_time(tmp_path: Path) -> None:
    """Bytes overwritten in a key frame are reported with the time where they are."""
    path = make.write(tmp_path / "all.mp4", make.Clip(gop=1))
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 400] = bytes(255 - byte for byte in data[middle : middle + 400])
    path.write_bytes(data)
    with pytest.raises(AssetError) as caught:
        check_media(path)
    assert caught.value.code == "corrupt_media"
    at = Fraction(caught.value.detail.split(" at ")[1].split(" s")[0])
    assert 0.5 < at < 3.5


def test_integrity_hears_every_track(tmp_path: Path) -> None:
    """Damage in the second of two tracks is found too."""
    path = make.write_tracks(tmp_path / "two.mkv", [make.noise(4, 0.1, seed=n) for n in range(2)])
    assert check_media(path).audio_seconds == pytest.approx(4.0, abs=0.01)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams[1]) if packet.size]
    middle, data = packets[len(packets) // 2], bytearray(path.read_bytes())
    at = data.index(bytes(middle)) + middle.size // 2
    data[at : at + 200] = bytes(255 - byte for byte in data[at : at + 200])
    path.write_bytes(data)
    with pytest.raises(AssetError) as caught:
        check_media(path)
    assert caught.value.code == "corrupt_media"


def test_integrity_finds_a_missing_end(tmp_path: Path) -> None:
    """A file without an outer index that ends long before its promised duration is truncated."""
    whole = make.write_sound(tmp_path / "w.flac", make.noise(6, 0.1), codec="flac")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(AssetError) as caught:
        check_media(whole)
    assert caught.value.code in ("truncated", "corrupt_media")
