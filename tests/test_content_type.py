"""Content types: every supported format by its bytes, and contradictions with what was declared."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from media_fixtures import heic, media, quarters
from PIL import Image

from operators.media.content_type import detect, sample_of
from operators.media.types import Detected, check_declared, settle
from schemas.errors import AssetError

SAMPLES = Path(__file__).parent.parent / "samples"

MEDIA = [
    ("a.mp4", "libx264+aac", None, "video/mp4", "video"),
    ("a.mov", "libx264+aac", None, "video/quicktime", "video"),
    ("a.m4v", "libx264+aac", "ipod", "video/x-m4v", "video"),
    ("a.3gp", "libx264+aac", None, "video/3gpp", "video"),
    ("a.mkv", "libx264+aac", None, "video/x-matroska", "video"),
    ("a.webm", "libvpx+libopus", None, "video/webm", "video"),
    ("a.avi", "mpeg4+libmp3lame", None, "video/x-msvideo", "video"),
    ("a.ts", "libx264+aac", None, "video/mp2t", "video"),
    ("a.m2ts", "libx264+aac", None, "video/mp2t", "video"),
    ("a.mpg", "mpeg1video+mp2", None, "video/mpeg", "video"),
    ("a.flv", "flv+", None, "video/x-flv", "video"),
    ("a.wmv", "wmv2+", None, "video/x-ms-asf", "video"),
    ("a.mxf", "mpeg2video+", None, "application/mxf", "video"),
    ("a.mp3", "+libmp3lame", None, "audio/mpeg", "audio"),
    ("a.wav", "+pcm_s16le", None, "audio/wav", "audio"),
    ("a.flac", "+flac", None, "audio/flac", "audio"),
    ("a.oga", "+flac", "ogg", "audio/ogg", "audio"),
    ("a.opus", "+libopus", None, "audio/ogg", "audio"),
    ("a.m4a", "+aac", "ipod", "audio/mp4", "audio"),
    ("a.aac", "+aac", "adts", "audio/aac", "audio"),
    ("a.aiff", "+pcm_s16be", None, "audio/aiff", "audio"),
    ("a.ac3", "+ac3", None, "audio/ac3", "audio"),
    ("a.eac3", "+eac3", None, "audio/ac3", "audio"),
    ("a.wv", "+wavpack", None, "audio/x-wavpack", "audio"),
    ("a.tta", "+tta", None, "audio/x-tta", "audio"),
    ("a.au", "+pcm_s16be", None, "audio/basic", "audio"),
    ("a.caf", "+pcm_s16le", None, "audio/x-caf", "audio"),
    ("a.w64", "+pcm_s16le", None, "audio/x-w64", "audio"),
]


@pytest.mark.parametrize(("name", "codecs", "container", "media_type", "kind"), MEDIA, ids=[m[0] for m in MEDIA])
def test_media_containers_are_told_by_content(
    tmp_path: Path, name: str, codecs: str, container: str | None, media_type: str, kind: str
) -> None:
    """Audio and video files have their type and kind found with no help from the name."""
    shutil.copy(media(tmp_path / name, codecs, container), tmp_path / "nameless")
    found = detect(sample_of(tmp_path / "nameless"))
    assert (found.media_type, found.kind) == (media_type, kind)
    check_declared(found, media_type, name)


DV = b"".join(
    (bytes((section << 5 | 31, 7, 0)) if section == 0 else bytes((section << 5, 0, 0))).ljust(80)
    for section in (0, 1, 1, 2)
)


@pytest.mark.parametrize(
    ("head", "name", "media_type", "kind"),
    [
        (b"#!AMR\n<\x24\x03\xb7P", "voice.amr", "audio/amr", "audio"),
        (b"#!AMR-WB\n\x04", "voice.awb", "audio/amr", "audio"),
        (b"\x7f\xfe\x80\x01\xfc\x3c", "film.dts", "audio/vnd.dts", "audio"),
        (b"MAC \x96\x0f", "song.ape", "audio/x-ape", "audio"),
        (DV, "tape.dv", "video/x-dv", "video"),
    ],
)
def test_first_bytes_tell(head: bytes, name: str, media_type: str, kind: str) -> None:
    """Formats that nothing here writes are known by the mark at their start."""
    found = detect(head.ljust(4000, b"\x55"))
    assert (found.media_type, found.kind) == (media_type, kind)
    check_declared(found, media_type, name)


@pytest.mark.parametrize("data", [b"\x0b\x77", b"\x0b\x77" + bytes(3000), b"\x1f\x07\0" + bytes(400), DV[:200]])
def test_a_beginning_is_not_enough(data: bytes) -> None:
    """Two bytes of a sync word, or a first block without the others, are nothing."""
    assert detect(data).family not in ("ac3", "dv")


@pytest.mark.parametrize("name", ["jpg", "png", "webp", "gif", "tiff", "bmp", "avif", "heic"])
def test_images_are_told_by_content(tmp_path: Path, name: str) -> None:
    """Image formats are found from their bytes."""
    path = tmp_path / "nameless"
    if name == "heic":
        path.write_bytes(heic(quarters()))
    else:
        quarters().save(path, {"jpg": "jpeg"}.get(name, name))
    found = detect(sample_of(path))
    assert (found.media_type, found.kind) == (
        f"image/{ {'jpg': 'jpeg'}.get(name, name) }".replace(" ", ""),
        "image",
    )
    check_declared(found, None, f"picture.{name}")


def test_samples_are_what_they_are() -> None:
    """Real files of all four kinds are told with the model's score."""
    kinds = {
        "astronaut.jpg": "image",
        "jfk.flac": "audio",
        "big-buck-bunny.mp4": "video",
        "coffee-guide.pdf": "document",
    }
    for name, kind in kinds.items():
        found = detect(sample_of(SAMPLES / name))
        assert found.kind == kind
        assert found.score > 0.9


def code_of(path: Path, declared: str | None, name: str) -> str:
    """The code under which the file is refused."""
    with pytest.raises(AssetError) as raised:
        check_declared(detect(sample_of(path)), declared, name)
    return raised.value.code


def test_text_named_as_video_is_a_mismatch(tmp_path: Path) -> None:
    """Text renamed .mp4, or declared as video, is refused as a mismatch; as text it is a document."""
    path = tmp_path / "x"
    path.write_text("Dear all,\nplease find the minutes of the meeting below.\n" * 20)
    assert code_of(path, None, "clip.mp4") == "type_mismatch"
    assert code_of(path, "video/mp4", "clip") == "type_mismatch"
    assert code_of(path, None, "clip.docx") == "type_mismatch"
    found = detect(sample_of(path))
    for declared, name in (("text/plain; charset=utf-8", "minutes.txt"), (None, "minutes")):
        check_declared(found, declared, name)
    assert found.kind == "document"


def test_empty_file_has_its_own_code(tmp_path: Path) -> None:
    """No bytes are no type: the code says empty, whatever was declared."""
    (tmp_path / "x").touch()
    assert code_of(tmp_path / "x", "video/mp4", "clip.mp4") == "empty_file"


def test_contradicting_names_are_refused(tmp_path: Path) -> None:
    """A picture is refused under another format's name or type, and media under that of a text."""
    quarters().save(tmp_path / "x", "png")
    assert code_of(tmp_path / "x", None, "x.JPG") == "type_mismatch"
    assert code_of(tmp_path / "x", None, "x.txt") == "type_mismatch"
    assert code_of(tmp_path / "x", "image/jpeg", "x") == "type_mismatch"
    assert code_of(tmp_path / "x", "video/x-unheard-of", "x") == "type_mismatch"


@pytest.mark.parametrize(
    "declared", [None, "", "application/octet-stream", "image/png", "IMAGE/PNG; q=1", "application/x-y"]
)
@pytest.mark.parametrize("name", ["x", "x.png", "x.PNG", "x.upload", ".png"])
def test_fitting_or_unknown_names_pass(declared: str | None, name: str) -> None:
    """A fitting type or name passes, and so does one that says nothing."""
    check_declared(Detected("image/png", "image", 1.0, "png"), declared, name)


@pytest.mark.parametrize(
    ("media_type", "name"), [("audio/mp4", "x.mp4"), ("video/mp4", "x.m4a"), ("video/webm", "x.mkv")]
)
def test_twins_in_one_container_do_not_contradict(media_type: str, name: str) -> None:
    """Audio and video types of one container family are no contradiction."""
    found = Detected(media_type, media_type[:5], 1.0, "mp4")
    check_declared(found, "video/mp4" if "mp4" in media_type else "video/x-matroska", name)


def test_streams_settle_the_kind(tmp_path: Path) -> None:
    """An MP4 with sound only becomes audio once its streams are known; a WAV stays what it is."""
    found = detect(sample_of(media(tmp_path / "a.mp4", "+aac")))
    assert found.kind == "video"
    settled = settle(found, has_video=False)
    assert (settled.kind, settled.media_type) == ("audio", "audio/mp4")
    wav = Detected("audio/wav", "audio", 1.0, "wav")
    assert settle(wav, has_video=False) is wav


def test_unsupported_binary_is_named(tmp_path: Path) -> None:
    """An icon is an image to the model, but none that is worked on."""
    Image.new("RGB", (16, 16)).save(tmp_path / "x", "ico")
    assert code_of(tmp_path / "x", None, "x") == "unsupported_type"
