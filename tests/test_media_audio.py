"""Loudness, the delivered files, the speech track and the waveform, measured on what was written."""

from __future__ import annotations

import json
from pathlib import Path

import av
import media_factory as make
import numpy as np
import pytest

from operators.media.audio import FILES, AudioResult, render_audio
from operators.media.loudness import Level, Meter, levelled
from operators.media.sound import stereo
from schemas.errors import AssetError
from schemas.pipelines import AudioParams, LoudnessParams, PreviewParams

PARAMS, PREVIEW = AudioParams(), PreviewParams()
SHARED = Path(__file__).parent.parent / "samples"


def render(path: Path, folder: Path, *outputs: str, params: AudioParams = PARAMS) -> AudioResult:
    return render_audio(path, folder, params, PREVIEW, outputs or tuple(FILES))


def samples_of(path: Path, rate: int = make.RATE, layout: str = "stereo") -> np.ndarray:
    """Decoded samples of shape (channels, n)."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp", layout, rate)
        frames = [r for f in container.decode(audio=0) for r in resampler.resample(f)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


def integrated(samples: np.ndarray) -> float:
    """Loudness (LUFS) of 48 kHz samples by the formulas of ITU-R BS.1770-5, annex 1."""
    length = samples.shape[1] + make.RATE
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(length))
    shelf = (1.53512485958697 - 2.69169618940638 * z + 1.19839281085285 * z**2) / (
        1 - 1.69065929318241 * z + 0.73248077421585 * z**2
    )
    high = (1 - 2 * z + z**2) / (1 - 1.99004745483398 * z + 0.99007225036621 * z**2)
    weighted = np.fft.irfft(np.fft.rfft(samples, length) * shelf * high, length)[:, : samples.shape[1]]
    step = make.RATE // 10
    count = samples.shape[1] // step
    power = (weighted[:, : count * step] ** 2).reshape(len(samples), count, step).mean(axis=2).sum(axis=0)
    blocks = np.convolve(power, np.full(4, 0.25), "valid")
    blocks = blocks[lufs(blocks) > -70]
    return float(lufs(blocks[lufs(blocks) > lufs(blocks.mean()) - 10].mean()))


def lufs(power: np.ndarray) -> np.ndarray:
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-15))


def independent(path: Path) -> tuple[float, float]:
    """(LUFS, dBTP by eightfold oversampling) of a delivered file."""
    peak = np.abs(samples_of(path, 8 * make.RATE)).max()
    return integrated(samples_of(path)), float(20 * np.log10(peak))


def quiet_then_loud() -> np.ndarray:
    parts = [make.noise(2, level, seed=i) for i, level in enumerate((0.01, 0.25, 0.02, 0.2))]
    return np.concatenate(parts, axis=1)


def clicks() -> np.ndarray:
    samples = make.noise(6, 0.02)
    samples[:, 24_000::48_000] = 0.99
    samples[:, 24_001::48_000] = -0.99
    return samples


SIGNALS = {
    "loud": lambda: np.clip(make.noise(6, 0.4), -1, 1),
    "quiet": lambda: make.noise(6, 0.002),
    "clipped": lambda: np.clip(make.tone(6, 4.0, 441.0), -1, 1),
    "dynamic": quiet_then_loud,
    "clicks": clicks,
    "tone": lambda: make.tone(6, 0.5),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_delivered_files_hold_target_and_ceiling(tmp_path: Path, name: str) -> None:
    """The decoded AAC files are within 0.3 LU of -14 LUFS and not over -1.5 dBTP, by other meters than ours."""
    source = make.write_sound(tmp_path / "s.wav", SIGNALS[name]())
    result = render(source, tmp_path, "audio", "preview")
    for output, made in result.delivered.items():
        loudness, peak = independent(tmp_path / FILES[output])
        assert made.after.integrated == pytest.approx(loudness, abs=0.05)
        assert peak <= -1.5 + 0.05 and made.after.true_peak <= -1.5
        if not made.code:
            assert abs(loudness - -14) <= 0.3 + 0.02
        assert made.code in ("", "peak_bound" if name == "clicks" else "")


def test_the_gain_dips_where_coding_raises_a_peak(tmp_path: Path) -> None:
    """A burst that coders overshoot is turned down, and nothing else: the ceiling stays, the rest is only louder."""
    samples = make.noise(20, 0.1)
    burst = slice(480_000, 482_880)
    samples[:, burst] = 0.9 * np.sign(np.random.default_rng(3).standard_normal((2, 2_880)))
    source = make.write_sound(tmp_path / "s.wav", samples)
    result = render(source, tmp_path, "preview", "flac")
    made = result.delivered["preview"]
    assert made.dip < -1 and made.level.ceiling == -2.5 and not made.code
    assert independent(tmp_path / "preview.m4a")[1] <= -1.5 + 0.05
    lossless, factor = samples_of(tmp_path / "audio.flac"), 10 ** (result.delivered["flac"].level.gain / 20)
    before, after = (np.sqrt((one[:, 300_000:470_000] ** 2).mean()) for one in (samples, lossless))
    assert after / before == pytest.approx(factor, rel=0.02) and np.abs(lossless[:, burst]).max() < 0.6


def test_surround_is_measured_and_delivered_as_its_downmix(tmp_path: Path) -> None:
    """5.1 becomes stereo by ITU-R BS.775: the centre is 3 dB down in both, the LFE is left out."""
    surround = np.zeros((6, 4 * make.RATE))
    surround[2] = make.tone(4, 0.5, channels=1)[0]
    surround[3] = make.tone(4, 0.5, 60, channels=1)[0]
    source = make.write_sound(tmp_path / "s.wav", surround, "5.1")
    mixed = np.concatenate([f.to_ndarray() for f in stereo(source, make.RATE)], axis=1)
    assert np.abs(mixed).max() == pytest.approx(0.5 / np.sqrt(2), rel=0.01)
    render(source, tmp_path, "audio")
    loudness, peak = independent(tmp_path / "audio.m4a")
    assert loudness == pytest.approx(-14, abs=0.35) and peak <= -1.5
    assert samples_of(tmp_path / "audio.m4a", layout="stereo").shape[0] == 2


def test_unlabelled_channels_are_accepted(tmp_path: Path) -> None:
    """A file that does not say where its channels belong gets the usual layout of their number."""
    source = make.write_sound(tmp_path / "s.wav", make.noise(2, 0.1, channels=4), "4.0")
    data = bytearray(source.read_bytes())
    at = data.index(b"fmt ") + 8
    data[at + 20 : at + 24] = bytes(4)
    source.write_bytes(data)
    result = render(source, tmp_path, "audio")
    assert result.delivered["audio"].after.integrated == pytest.approx(-14, abs=0.3)


@pytest.mark.parametrize("samples", [np.zeros((2, 2 * make.RATE)), make.noise(0.3, 0.1)], ids=["silence", "300_ms"])
def test_silence_and_shorts_are_left_as_they_are(tmp_path: Path, samples: np.ndarray) -> None:
    """Silence and sounds under 400 ms get no gain and the code `silence`."""
    result = render(make.write_sound(tmp_path / "s.wav", samples), tmp_path)
    made = result.delivered["flac"]
    assert (made.code, made.level, made.level.mode, made.passes) == ("silence", Level(), "unchanged", 1)
    made = samples_of(tmp_path / "audio.m4a")
    assert np.abs(made).max() == pytest.approx(np.abs(samples).max(), rel=0.15, abs=1e-4)


def test_the_ceiling_wins_over_the_target(tmp_path: Path) -> None:
    """Where both cannot be met the peak holds, and the result says so."""
    samples = np.zeros((2, 6 * make.RATE))
    samples[:, 24_000::48_000] = 0.9
    target = LoudnessParams(target_lufs=-8.0, peak_dbtp=-9.0)
    source = make.write_sound(tmp_path / "s.wav", samples)
    result = render(source, tmp_path, "audio", params=AudioParams(loudness=target))
    assert result.delivered["audio"].code == "peak_bound"
    assert independent(tmp_path / "audio.m4a")[1] <= -9.0 + 0.05


def test_another_target_is_met(tmp_path: Path) -> None:
    """Target and ceiling are parameters."""
    target = LoudnessParams(target_lufs=-23.0, peak_dbtp=-3.0)
    source = make.write_sound(tmp_path / "s.flac", make.noise(5, 0.1), codec="flac")
    render(source, tmp_path, "audio", params=AudioParams(loudness=target))
    assert independent(tmp_path / "audio.m4a")[0] == pytest.approx(-23, abs=0.35)


def test_loudness_is_recorded_before_and_after(tmp_path: Path) -> None:
    """A 997 Hz sine at -20 dBFS in both channels measures -20 LUFS (EBU Tech 3341) and its own peak."""
    source = make.write_sound(tmp_path / "s.wav", make.tone(5, 0.1))
    result = render(source, tmp_path, "audio")
    assert result.before.integrated == pytest.approx(-20.0, abs=0.1)
    assert result.before.true_peak == pytest.approx(-20.0, abs=0.1)
    level = result.delivered["audio"].level
    assert level.gain == pytest.approx(6.0, abs=0.1) and (level.ceiling, level.mode) == (None, "linear")
    assert result.seconds == pytest.approx(5.0)


def test_a_peak_in_the_last_moment_is_seen(tmp_path: Path) -> None:
    """The meter reports a peak that comes after its last full 100 ms."""
    samples = make.tone(2.05, 0.1)
    samples[:, -200:] = 0.8
    meter = Meter()
    for frame in stereo(make.write_sound(tmp_path / "s.wav", samples), make.RATE):
        meter.push(frame)
    found = meter.result()
    assert found.true_peak > -2.5 and found.integrated == pytest.approx(-20, abs=0.2)


def test_a_level_keeps_the_number_of_samples(tmp_path: Path) -> None:
    """Gain and limiter neither lengthen nor delay the sound."""
    samples = make.tone(1, 0.05)
    samples[:, 20_000:20_050] = 0.9
    source = make.write_sound(tmp_path / "s.wav", samples)
    for level in (Level(6.0), Level(6.0, -3.0)):
        frames = levelled(stereo(source, make.RATE), level, make.RATE)
        out = np.concatenate([f.to_ndarray() for f in frames], axis=1)
        assert abs(out.shape[1] - samples.shape[1]) <= 16
        assert abs(int(np.abs(out[0]).argmax()) - 20_025) < 60


def test_gaps_are_filled_with_silence(tmp_path: Path) -> None:
    """Sound that stops and goes on a second later stays in its place."""
    with av.open(str(tmp_path / "gap.mkv"), "w") as container:
        stream = container.add_stream("flac", rate=make.RATE, layout="stereo")
        resampler = av.AudioResampler("s16", "stereo", make.RATE)
        for start in (0, 2 * make.RATE):
            for frame in make.sound_frames(make.tone(1, 0.3), "stereo", start):
                for ready in resampler.resample(frame):
                    container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    mixed = np.concatenate([f.to_ndarray() for f in stereo(tmp_path / "gap.mkv", make.RATE)], axis=1)
    assert mixed.shape[1] == pytest.approx(3 * make.RATE, abs=200)
    assert np.abs(mixed[:, 60_000:90_000]).max() == 0 and np.abs(mixed[:, 100_000:]).max() > 0.2


def test_speech_is_16_khz_mono_and_the_waveform_is_of_it(tmp_path: Path) -> None:
    """The waveform follows audiowaveform's format: 8 bits of minimum and maximum of each group of speech samples."""
    source = make.write_sound(tmp_path / "s.wav", make.noise(3.01, 0.1))
    render(source, tmp_path, "speech", "waveform")
    with av.open(str(tmp_path / "speech.wav")) as container:
        track = container.streams.audio[0]
        assert (track.codec_context.name, track.rate, track.channels) == ("pcm_s16le", 16_000, 1)
        speech = np.concatenate([f.to_ndarray()[0] for f in container.decode(track)])
    wave = json.loads((tmp_path / "waveform.json").read_text())
    head = {key: value for key, value in wave.items() if key != "data"}
    pixels = -(-len(speech) // 256)
    assert head == {
        "version": 2,
        "channels": 1,
        "sample_rate": 16_000,
        "samples_per_pixel": 256,
        "bits": 8,
        "length": pixels,
    }
    groups = [speech[i * 256 : (i + 1) * 256] for i in range(pixels)]
    assert wave["data"] == [int(v / 256) for group in groups for v in (group.min(), group.max())]


def test_only_the_outputs_asked_for_are_made(tmp_path: Path) -> None:
    """A subset makes no other file."""
    source = make.write_sound(tmp_path / "s.wav", make.noise(1, 0.1))
    result = render(source, tmp_path, "waveform")
    assert {p.name for p in tmp_path.iterdir()} == {"s.wav", "waveform.json", "waveform.dat"}
    assert (result.files, result.delivered) == ((("waveform", "waveform.json"),), {})


def test_damage_in_the_sound_is_an_error_with_its_time(tmp_path: Path) -> None:
    """Overwritten bytes in the middle fail with the time where they are."""
    source = make.write_sound(tmp_path / "s.flac", make.noise(6, 0.1), codec="flac")
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = bytes(20_000)
    source.write_bytes(data)
    with pytest.raises(AssetError, match=r"corrupt_media.*audio at [234]"):
        render(source, tmp_path, "speech")


@pytest.mark.parametrize("name", ["jfk.flac", "big-buck-bunny.mp4"])
def test_real_media_holds_target_and_ceiling(tmp_path: Path, name: str) -> None:
    """Speech and a film with 5.1 sound are delivered at -14 LUFS under -1.5 dBTP."""
    result = render(SHARED / name, tmp_path, "audio", "opus")
    for output, made in result.delivered.items():
        assert not made.code
        loudness, peak = independent(tmp_path / FILES[output])
        assert loudness == pytest.approx(-14, abs=0.35) and peak <= -1.45


def test_any_track_can_be_rendered(tmp_path: Path) -> None:
    """A second audio track is measured and delivered by itself, in its own place in time."""
    make.write_tracks(tmp_path / "two.mkv", (make.tone(2, 0.1), make.tone(2, 0.02, 440)))
    result = render_audio(tmp_path / "two.mkv", tmp_path, PARAMS, PREVIEW, ["audio"], track=1)
    assert result.before.true_peak == pytest.approx(-34, abs=0.1)
    spectrum = np.abs(np.fft.rfft(samples_of(tmp_path / "audio.m4a")[0][: make.RATE]))
    assert spectrum.argmax() == 440
    with pytest.raises(AssetError, match="no_media_stream"):
        render_audio(tmp_path / "two.mkv", tmp_path, PARAMS, PREVIEW, ["audio"], track=2)
