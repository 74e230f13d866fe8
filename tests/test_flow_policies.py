"""What pipelines decide and what leaves the house: originals, web-friendly sources, and no position in a bundle."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import av
import media_factory as media
import pytest
from flow_runs import Place, picture
from PIL import ExifTags, Image

from schemas.manifest import Manifest

POLICIES = {"kept": "kept", "away": "archived", "gone": "dropped"}
PLACE = (52.0, 31.0, 12.0)
# tags under which cameras and phones keep a position
POSITION = ("gps", "location", "52.5", "+52", "13.4")


def located(path: Path) -> Path:
    """A photo with a position and a description in its EXIF."""
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "A quiet harbour"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps.update({ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: PLACE})
    gps.update({ExifTags.GPS.GPSLongitudeRef: "E", ExifTags.GPS.GPSLongitude: (13.0, 24.0, 0.0)})
    Image.effect_noise((300, 200), 60).convert("RGB").save(path, exif=exif)
    return path


def friendly(path: Path, level: float) -> Path:
    """H.264 High 4:2:0 with AAC stereo in an MP4 that says where it was taken."""
    whole = media.write(path.with_suffix(".mkv"), media.Clip(pts=range(72), size=(320, 180), gop=24))
    with av.open(str(whole)) as source, av.open(str(path), "w") as out:
        out.metadata["location"] = "+52.5200+013.4050/"
        video = out.add_stream_from_template(source.streams.video[0])
        sound = out.add_stream("aac", rate=48_000, layout="stereo")
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        for frame in media.sound_frames(media.tone(3, level), "stereo"):
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    whole.unlink()
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Three pictures under three policies, and two web-friendly videos, one quiet and one at the target."""
    folder = tmp_path_factory.mktemp("policies")
    pipelines = folder / "pipelines.toml"
    pipelines.write_text("".join(f'[{name}]\noriginal = "{policy}"\n' for name, policy in POLICIES.items()))
    place = Place(folder / "out", {"ASSET_PIPELINE_PIPELINES_FILE": str(pipelines)})
    for number, name in enumerate(POLICIES):
        place.rows("run", picture(folder / f"{name}.png", number), "--pipeline", name)
    # a sine of 997 Hz in both channels is as loud as its level in dBFS: -14 LUFS is a peak of 0.2
    files = [located(folder / "harbour.jpg"), friendly(folder / "quiet.mp4", 0.02), friendly(folder / "loud.mp4", 0.2)]
    place.rows("run", *files)
    return place


def manifest(place: Place, name: str) -> Manifest:
    """The manifest of the asset of this name."""
    return next(m for m in place.manifests() if m.record.request.source.name == name)


@pytest.mark.parametrize(("name", "places"), [("kept", {"objects"}), ("away", {"archive"}), ("gone", set())])
def test_the_original_is_kept_archived_or_dropped(place: Place, name: str, places: set[str]) -> None:
    """The pipeline's policy decides where the original is in the end; the renditions stay either way."""
    found = manifest(place, f"{name}.png")
    stored = {p.relative_to(place.out / "store").parts[0] for p in place.files(f"store/*/*/*/{found.original.sha256}")
              if not p.is_symlink()}  # fmt: skip
    assert stored == places
    assert all(place.files(f"store/objects/*/*/{v.sha256}") for v in found.variants)


def test_a_web_friendly_source_is_not_encoded(place: Place) -> None:
    """The mezzanine has the source's own pictures, packet by packet, and says that it was remuxed."""
    for name in ("quiet.mp4", "loud.mp4"):
        found = manifest(place, name)
        step = next(s for s in found.steps if s.step == "mezzanine")
        assert step.code == "remuxed"
        mezzanine = found.variant("mezzanine")
        assert mezzanine is not None
        assert packets(place, mezzanine.sha256, "video") == packets(place, found.original.sha256, "video")


def test_only_sound_that_is_off_target_is_replaced(place: Place) -> None:
    """A source at the loudness target keeps its own sound; a quiet one gets the delivered one."""
    same = {}
    for name in ("quiet.mp4", "loud.mp4"):
        found = manifest(place, name)
        mezzanine, audio = found.variant("mezzanine"), found.variant("audio")
        assert mezzanine is not None and audio is not None
        own, delivered = (packets(place, sha, "audio") for sha in (found.original.sha256, audio.sha256))
        got = packets(place, mezzanine.sha256, "audio")
        same[name] = (got == own, got == delivered)
    assert same == {"quiet.mp4": (False, True), "loud.mp4": (True, False)}


def packets(place: Place, sha256: str, kind: str) -> list[bytes]:
    """The coded packets of an object's first track of a kind."""
    (path,) = place.files(f"store/objects/*/*/{sha256}")
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(getattr(container.streams, kind)[0]) if packet.size]


def test_the_files_own_words_describe_it(place: Place) -> None:
    """EXIF's description becomes the asset's, and the position is in the metadata that stays in the house."""
    found = manifest(place, "harbour.jpg")
    assert found.metadata.description == "A quiet harbour"
    exif: dict[str, Any] = next(s for s in found.steps if s.step == "integrity").values["exif"]
    assert abs(exif["gps"]["latitude"] - 52.52) < 0.01


@pytest.mark.tool("exiftool")
@pytest.mark.parametrize("name", ["harbour.jpg", "quiet.mp4", "loud.mp4"])
def test_a_bundle_says_nothing_of_where(place: Place, name: str) -> None:
    """No file of a published bundle, its manifest included, has a position, by exiftool's reading and by search."""
    bundle = place.out / "published" / "default" / manifest(place, name).asset_id / "v1"
    done = subprocess.run(["exiftool", "-json", "-a", "-G", "-r", str(bundle)], capture_output=True, text=True)
    tags = {key.lower(): str(value) for file in json.loads(done.stdout) for key, value in file.items()}
    assert len(tags) > 10
    assert not [key for key in tags if any(word in key for word in ("gps", "location", "coordinates"))]
    assert not [word for word in POSITION if word in (bundle / "manifest.json").read_text().lower()]
