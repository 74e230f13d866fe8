"""Sound through the whole flow: an album in 5.1 with cover, chapters and two tracks; a film in two languages."""

from __future__ import annotations

import json
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import media_factory as make
import pytest
import sound_factory as sounds
from flow_runs import PROGRAM, Place, found, pipeline_file
from PIL import Image

from schemas.manifest import Manifest, Variant

pytestmark = pytest.mark.tool("ffmpeg")


def album(path: Path) -> Path:
    """FLAC in Matroska: 5.1, then stereo without a word of its language; two chapters and a cover."""
    first = make.write_sound(path.with_name("first.flac"), sounds.surround(2), "5.1", "flac")
    second = make.write_sound(path.with_name("second.flac"), make.tone(2, 0.02), codec="flac")
    both = sounds.tagged(path.with_name("both.mka"), first, second, options=("-c", "copy"))
    return sounds.covered(path, both)


def film(path: Path) -> Path:
    """H.264 with two AAC tracks, the second German, and a chapter."""
    whole = make.write(path.with_suffix(".mkv"), make.Clip(pts=range(48), gop=24, audio=make.tone(2, 0.1)))
    dubbed = make.write_sound(path.with_suffix(".m4a"), make.tone(2, 0.03, 440), codec="aac")
    return sounds.tagged(path, whole, dubbed, options=("-metadata:s:a:1", "language=deu", "-c", "copy"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A run of both."""
    folder = tmp_path_factory.mktemp("sound")
    place = Place(folder / "out", {"ASSET_PIPELINE_PIPELINES_FILE": str(pipeline_file(folder / "p.toml"))})
    place.run(album(folder / "album.mka"), film(folder / "film.mp4"))
    return place


def manifest(place: Place, name: str) -> Manifest:
    """The newest manifest of the asset of this name."""
    return [m for m in place.manifests() if m.record.request.source.name == name][-1]


def variant(asset: Manifest, name: str) -> Variant:
    made = asset.variant(name)
    assert made is not None, name
    return made


def file_of(place: Place, asset: Manifest, name: str) -> Path:
    """The stored file of a variant."""
    return place.files(f"store/objects/*/*/{variant(asset, name).sha256}")[0]


def test_an_audio_asset_has_all_its_files(place: Place) -> None:
    """AAC, Opus and FLAC, a file for each channel, the second track, waveforms, poster and chapters."""
    asset = manifest(place, "album.mka")
    channels = {f"channel-{name}" for name in sounds.PITCHES}
    assert {v.name for v in asset.variants} >= channels | {
        "audio", "audio-opus", "audio-flac", "audio-2", "preview", "speech", "waveform", "waveform-data", "poster",
        "chapters",
    }  # fmt: skip
    assert variant(asset, "audio-opus").media_type == "audio/ogg"
    assert variant(asset, "channel-LFE").properties == {"channel": "LFE", "duration": 2.0}
    for name in ("audio", "audio-2", "audio-opus", "audio-flac"):
        assert sounds.ebur128(file_of(place, asset, name))[0] == pytest.approx(-14, abs=0.4)
    assert "00:00:01.000 --> 00:00:02.000\nZweites Kapitel" in file_of(place, asset, "chapters").read_text()
    with Image.open(file_of(place, asset, "poster")) as poster:
        assert poster.convert("RGB").getpixel((300, 300)) == pytest.approx(sounds.COVER_COLOUR, abs=6)
    placeholder = next(s for s in asset.steps if s.step == "placeholder")
    assert placeholder.values["thumbhash"]


def test_a_video_has_a_file_for_each_further_track(place: Place) -> None:
    """The second language is delivered as AAC of its own, levelled; nothing else is made of a video's sound."""
    asset = manifest(place, "film.mp4")
    names = {v.name for v in asset.variants}
    assert {"audio", "audio-2", "chapters"} <= names
    assert not {n for n in names if n.startswith("channel") or n in ("audio-opus", "audio-flac")}
    second = variant(asset, "audio-2")
    assert second.properties == {"duration": pytest.approx(2, abs=0.03), "track": 1, "language": "deu"}
    with av.open(str(file_of(place, asset, "audio-2"))) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        assert Fraction(container.duration, av.time_base) == pytest.approx(2, abs=0.03)


def test_lineage_says_what_was_measured_and_applied(place: Place) -> None:
    """Each delivered file's step has the loudness before and after, gain, limiter and mode, and the downmix."""
    asset = manifest(place, "album.mka")
    steps = {s.step: s for s in asset.steps}
    values = steps["flac"].values
    assert values["layout"] == {"from": "5.1", "to": "stereo"}
    loudness = values["loudness"]
    assert loudness["after"]["integrated"] == pytest.approx(-14, abs=0.3)
    assert loudness["gain_db"] == pytest.approx(-14 - loudness["before"]["integrated"], abs=0.3)
    assert (loudness["mode"], loudness["limiter_dbtp"], loudness["passes"]) == ("linear", None, 1)
    assert loudness["dip_db"] == 0
    command = [PROGRAM, "lineage", "album.mka", "--out", place.out]
    tree = subprocess.run([*command], capture_output=True, text=True, check=True).stdout
    said = [line for line in tree.splitlines() if "derive flac" in line]
    before, gain = loudness["before"]["integrated"], loudness["gain_db"]
    assert f"{before:.1f} LUFS" in said[0] and f"linear {gain:+.1f} dB → -14.0 LUFS" in said[0]
    events = subprocess.run([*command, "--format", "openlineage"], capture_output=True, text=True, check=True).stdout
    facets = [json.loads(line)["run"]["facets"]["assetPipeline_step"] for line in events.splitlines()]
    assert next(f for f in facets if f["step"] == "flac")["measured"]["loudness"] == loudness


def test_changed_parameters_redo_only_their_files(place: Place, tmp_path: Path) -> None:
    """Other bit rates encode the files that have them, and nothing else."""
    rates = {"opus_bit_rate": 64_000, "bit_rate": 128_000}
    changed = Place(place.out, {"ASSET_PIPELINE_PIPELINES_FILE": str(pipeline_file(tmp_path / "p.toml", audio=rates))})
    row = changed.run(place.out.parent / "album.mka")["album.mka"]
    assert {step for step, cached in found(row).items() if not cached} == {
        "derive.audio",
        "derive.audio-2",
        "derive.opus",
    }
