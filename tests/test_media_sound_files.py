"""Sound as it is delivered: measured by ffmpeg's program, split into channels, with its cover and chapters."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path

import av
import media_factory as make
import numpy as np
import pytest
import sound_factory as sounds
import webvtt
from PIL import Image

from operators.media.audio import FILES, render_audio
from operators.media.channels import split_channels
from operators.media.chapters import chapters_webvtt
from operators.media.cover import render_cover
from operators.media.loudness import measure
from operators.media.probe import quick_probe
from operators.media.sound import stereo
from schemas.errors import AssetError
from schemas.pipelines import AudioParams, Limits, PreviewParams
from schemas.technical import Chapter

PARAMS, PREVIEW = AudioParams(), PreviewParams()
DELIVERED = ("audio", "preview", "opus", "flac")
pytestmark = [pytest.mark.tool("ffmpeg"), pytest.mark.tool("ffprobe")]

SOURCES: dict[str, tuple[str, Callable[[], np.ndarray]]] = {
    "loud": ("stereo", lambda: np.clip(make.noise(5, 0.4), -1, 1)),
    "quiet": ("stereo", lambda: make.noise(5, 0.002)),
    "dynamic": ("stereo", lambda: np.concatenate([make.noise(2, x, seed=3) for x in (0.01, 0.3, 0.05)], axis=1)),
    "surround": ("5.1", lambda: make.noise(5, 0.1, channels=6)),
    "mono": ("mono", lambda: make.noise(5, 0.1, channels=1)),
}
# BS.775: L + 0.707 C + 0.707 Ls, without the LFE
BS775 = "pan=stereo|c0=c0+0.707107*c2+0.707107*c4|c1=c1+0.707107*c2+0.707107*c5"


@pytest.mark.parametrize("name", SOURCES)
def test_loudness_is_what_ffmpeg_measures(tmp_path: Path, name: str) -> None:
    """Sources and decoded deliveries measure as by ffmpeg's ebur128, within 0.1 LU and 0.2 dB; the peak is obeyed."""
    layout, samples = SOURCES[name]
    source = make.write_sound(tmp_path / "s.wav", samples(), layout)
    result = render_audio(source, tmp_path, PARAMS, PREVIEW, DELIVERED)
    loudness, peak = sounds.ebur128(source, BS775 if name == "surround" else "")
    assert result.before.integrated == pytest.approx(loudness, abs=0.1)
    if name != "mono":
        assert result.before.true_peak == pytest.approx(peak, abs=0.2)
    for output, made in result.delivered.items():
        loudness, peak = sounds.ebur128(tmp_path / FILES[output])
        assert made.after.integrated == pytest.approx(loudness, abs=0.1)
        assert loudness == pytest.approx(-14, abs=0.4) and peak <= -1.5 + 0.06
        assert not made.code


def test_mono_is_delivered_on_both_channels_as_loud_as_stereo(tmp_path: Path) -> None:
    """A mono source is heard from both sides, alike, at the target; it lies 3 dB lower in each than alone."""
    source = make.write_sound(tmp_path / "s.wav", make.tone(3, 0.5, channels=1), "mono")
    left, right = np.concatenate([f.to_ndarray() for f in stereo(source, make.RATE)], axis=1)
    assert np.array_equal(left, right) and np.abs(left).max() == pytest.approx(0.5 / np.sqrt(2), rel=0.01)
    render_audio(source, tmp_path, PARAMS, PREVIEW, ["flac"])
    assert sounds.ebur128(tmp_path / "audio.flac")[0] == pytest.approx(-14, abs=0.1)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_deliveries_last_as_long_as_their_source(tmp_path: Path, rate: int) -> None:
    """Each decodes, in ffmpeg's program, to the source's samples within one frame, and starts with it."""
    samples = make.noise(2.0137, 0.1)
    samples[:, :2000] = 0
    source = make.write_sound(tmp_path / "s.wav", samples)
    render_audio(source, tmp_path, AudioParams(sample_rate=rate), PREVIEW, DELIVERED)
    expected = round(samples.shape[1] * rate / make.RATE)
    for output, frame in {"audio": 1024, "preview": 1024, "opus": 1, "flac": 1}.items():
        command = ["ffmpeg", "-v", "error", "-i", tmp_path / FILES[output], "-f", "f32le", "-ar", str(rate), "-"]
        raw = subprocess.run(command, capture_output=True, check=True).stdout
        heard = np.frombuffer(raw, np.float32).reshape(-1, 2)[:, 0]
        assert abs(len(heard) - expected) <= frame, output
        begin = int((np.abs(heard) > 0.02).argmax())
        assert begin == pytest.approx(2000 * rate / make.RATE, abs=250), output


def test_codings_are_what_players_know(tmp_path: Path) -> None:
    """AAC in MP4, Opus of 48 kHz in Ogg near its bit rate, FLAC of 24 bits, all stereo, by ffprobe."""
    source = make.write_sound(tmp_path / "s.wav", make.noise(4, 0.1))
    render_audio(source, tmp_path, AudioParams(opus_bit_rate=96_000), PREVIEW, DELIVERED)
    for output, expected in {
        "audio": "aac,48000,2,N/A,\"mov", "opus": "opus,48000,2,N/A,ogg", "flac": "flac,48000,2,24,flac"
    }.items():  # fmt: skip
        shown = "stream=codec_name,sample_rate,channels,bits_per_raw_sample:format=format_name"
        command = ["ffprobe", "-v", "error", "-show_entries", shown, "-of", "csv=p=0:nk=1", tmp_path / FILES[output]]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.replace("\n", ",")
        assert said.startswith(expected)
    assert (tmp_path / "audio.opus").stat().st_size * 8 / 4 == pytest.approx(96_000, rel=0.25)


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_every_channel_of_surround_is_a_file(tmp_path: Path, codec: str) -> None:
    """5.1 gives six mono FLAC files named by channel, each with its own sound at its own level."""
    source = make.write_sound(tmp_path / "s.wav", sounds.surround(1.5), "5.1", codec)
    found = split_channels(source, tmp_path)
    assert [f.channel for f in found] == list(sounds.PITCHES)
    for file in found:
        assert (file.name, file.seconds) == (f"channel-{file.channel}.flac", pytest.approx(1.5))
        with av.open(str(tmp_path / file.name)) as container:
            track = container.streams.audio[0]
            assert (track.layout.name, track.rate) == ("mono", make.RATE)
            heard = np.concatenate([f.to_ndarray() for f in container.decode(track)], axis=1)[0] / 2**31
        assert np.abs(np.fft.rfft(heard)).argmax() / 1.5 == pytest.approx(sounds.PITCHES[file.channel], abs=1)
        assert np.abs(heard).max() == pytest.approx(0.1, rel=0.01)


def test_channels_without_names_are_numbered(tmp_path: Path) -> None:
    """Eleven channels that no layout tells apart are files named by their number."""
    source = tmp_path / "s.wav"
    lines = "|".join(f"0.{n:02d}*sin({200 + 100 * n}*2*PI*t)" for n in range(1, 12))
    sounds.ffmpeg("-f", "lavfi", "-i", f"aevalsrc={lines}:d=1", source)
    found = split_channels(source, tmp_path)
    assert [f.channel for f in found] == [str(n) for n in range(1, 12)]
    with av.open(str(tmp_path / "channel-11.flac")) as container:
        heard = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)[0]
    assert np.abs(np.fft.rfft(heard)).argmax() == 1300


@pytest.mark.parametrize("suffix", [".m4a", ".mp3", ".mka", ".ogg", ".opus", ".flac"])
def test_chapters_are_read_and_written(tmp_path: Path, suffix: str) -> None:
    """Chapters of MP4, ID3, Matroska and Vorbis comments come out in seconds, and as cues that a parser reads."""
    sound = make.write_sound(tmp_path / "s.wav", make.tone(2, 0.1))
    coding = ("-c:a", "libvorbis") if suffix == ".ogg" else ()
    source = sounds.tagged(tmp_path / f"t{suffix}", sound, options=coding)
    chapters = quick_probe(source, "audio", Limits()).chapters
    assert [c.title for c in chapters] == [title for *_, title in sounds.CHAPTERS]
    assert [c.start for c in chapters] == [start / 1000 for start, *_ in sounds.CHAPTERS]
    assert [c.end for c in chapters] == pytest.approx([1, 2], abs=0.05)
    cues = webvtt.from_buffer(io.StringIO(chapters_webvtt(chapters))).captions
    assert [(c.start, unescape(c.text)) for c in cues] == [
        ("00:00:00.000", "One & <two>"),
        ("00:00:01.000", "Zweites Kapitel"),
    ]


def test_chapters_without_title_or_length_are_still_cues() -> None:
    """A chapter without title is called by its number; one without length lasts until the next, or is left out."""
    chapters = [Chapter(start=0, end=0), Chapter(start=2, end=9, title="b"), Chapter(start=5, end=5, title="c")]
    cues = webvtt.from_buffer(io.StringIO(chapters_webvtt(chapters))).captions
    assert [(c.start, c.end, c.text) for c in cues] == [
        ("00:00:00.000", "00:00:02.000", "Chapter 1"), ("00:00:02.000", "00:00:05.000", "b"),
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".m4a", ".mp3", ".flac", ".mka"])
def test_cover_art_becomes_the_poster(tmp_path: Path, suffix: str) -> None:
    """The cover in each format's own place is found, and its colour is the poster's."""
    sound = make.write_sound(tmp_path / "s.flac", make.tone(1, 0.1), codec="flac")
    source = sounds.covered(tmp_path / f"c{suffix}", sound)
    technical = quick_probe(source, "audio", Limits())
    assert technical.cover and technical.video is None
    found = render_cover(source, tmp_path, 80, Limits())
    with Image.open(tmp_path / found.file.name) as poster:
        assert (poster.format, poster.size) == ("WEBP", (640, 640))
        assert poster.convert("RGB").getpixel((320, 320)) == pytest.approx(sounds.COVER_COLOUR, abs=6)
    assert found.thumbhash


def test_a_cover_that_is_no_picture_has_a_code(tmp_path: Path) -> None:
    """Damaged cover art is refused by a code of its own, which skips the poster and no more."""
    sound = make.write_sound(tmp_path / "s.flac", make.tone(1, 0.1), codec="flac")
    source = sounds.covered(tmp_path / "c.mp3", sound)
    data = source.read_bytes()
    source.write_bytes(data.replace(b"\x89PNG\r\n", b"\0" * 6).replace(b"IHDR", b"XXXX"))
    with pytest.raises(AssetError, match="unreadable_cover"):
        render_cover(source, tmp_path, 80, Limits())


def test_peaks_between_samples_are_held_too(tmp_path: Path) -> None:
    """Sound whose peaks lie between its samples is held under the ceiling in what is delivered (BS.1770, annex 2)."""
    t = np.arange(4 * make.RATE)
    fade = np.minimum(1, np.minimum(t, t[::-1]) / 4800)
    between = np.tile(0.9 * fade * np.sin(np.pi / 2 * t + np.pi / 4), (2, 1))
    assert np.abs(between).max() == pytest.approx(0.9 / np.sqrt(2), rel=1e-3)
    source = make.write_sound(tmp_path / "s.wav", between)
    assert measure(stereo(source, make.RATE)).true_peak == pytest.approx(20 * np.log10(0.9), abs=0.1)
    result = render_audio(source, tmp_path, PARAMS, PREVIEW, ["audio", "opus", "flac"])
    for output in result.delivered:
        assert sounds.ebur128(tmp_path / FILES[output])[1] <= -1.5 + 0.06
