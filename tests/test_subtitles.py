"""Subtitles of tracks and of files beside a video as WebVTT, read by a parser that is not ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from html import unescape
from pathlib import Path
from typing import Any

import av
import media_factory as media
import pytest
import webvtt
from flow_runs import Place, clip, found

from operators.media.languages import bcp47
from operators.media.probe import quick_probe
from operators.media.subtitles import Cue, Named, file_to_webvtt, named, tracks_to_webvtt
from operators.media.subtitles import webvtt as written
from schemas.errors import AssetError
from schemas.pipelines import Limits

Event = tuple[int, int, bytes]
STYLES = (
    "Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, "
    "StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, "
    "Encoding"
)
EVENTS = "Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"
HEADER = f"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: {STYLES}
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: {EVENTS}
"""
SRT = "1\n00:00:01,000 --> 00:00:02,500\n<i>Grüße</i> & <b>Küsse</b>\n2 < 3\n\n2\n00:01:03,000 --> 00:01:04,250\nEnde\n"
ASS = (
    HEADER
    + r"""Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\i1}Grüße{\i0} & {\c&H0000ff&\pos(10,20)}Küsse\N2 < 3
Dialogue: 0,0:01:03.00,0:01:04.25,Default,,0,0,0,,Ende{\p1}m 0 0 l 100 100{\p0}
"""
)
VTT = (
    "\ufeffWEBVTT\n\nSTYLE\n::cue { color: red }\n\n00:01.000 --> 00:02.500 align:start\n"
    "<v Eva><i>Grüße</i> &amp; Küsse\n2 &lt; 3\n\n1\n00:01:03.000 --> 00:01:04.250\nEnde\n"
)
CUES = [("00:00:01.000", "00:00:02.500", "Grüße & Küsse\n2 < 3"), ("00:01:03.000", "00:01:04.250", "Ende")]


def cues(path: Path) -> list[tuple[str, str, str]]:
    """What webvtt-py reads: (start, end, text) of each cue."""
    return [(one.start, one.end, unescape(one.text)) for one in webvtt.read(str(path))]


def with_tracks(source: Path, path: Path, tracks: Sequence[tuple[str, str, Sequence[Event]]]) -> Path:
    """The source's tracks, and subtitles of (codec, language, events of (start ms, end ms, packet))."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        kept = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        made = []
        for codec, language, _ in tracks:
            stream: Any = new.add_stream(codec)
            stream.time_base, stream.codec_context.subtitle_header = Fraction(1, 1000), HEADER.encode()
            stream.metadata["language"] = language
            made.append(stream)
        for packet in old.demux():
            if packet.size:
                packet.stream = kept[packet.stream.index]
                new.mux(packet)
        for stream, (_, _, events) in zip(made, tracks, strict=True):
            for start, end, data in events:
                packet = av.Packet(data)
                packet.pts, packet.dts, packet.duration = start, start, end - start
                packet.time_base, packet.stream = Fraction(1, 1000), stream
                new.mux(packet)
    return path


@pytest.mark.parametrize(
    ("form", "text"), [("srt", SRT), ("ass", ASS), ("webvtt", VTT)], ids=["SubRip", "ASS", "WebVTT"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_a_file_of_subtitles_becomes_webvtt(form: str, text: str, encoding: str, tmp_path: Path) -> None:
    """Its cues keep times, words, lines and signs; styles and drawings go, whatever the text's encoding."""
    path = tmp_path / "given"
    path.write_bytes(text.removeprefix("\ufeff" if encoding == "cp1252" else "").encode(encoding))
    made = file_to_webvtt(path, tmp_path, form, 3)
    assert (made.file, made.cues, made.damaged) == ("subtitles-3.vtt", 2, 0)
    assert cues(tmp_path / made.file) == CUES


@pytest.mark.parametrize("data", [b"", b"\x00\xff" * 500, b"#!/bin/sh\n"], ids=["empty", "noise", "other text"])
@pytest.mark.parametrize("form", ["srt", "ass", "webvtt"])
def test_what_holds_no_cue_is_refused(data: bytes, form: str, tmp_path: Path) -> None:
    """A file that is no subtitles has a code that tells a person what to do."""
    (tmp_path / "given").write_bytes(data)
    with pytest.raises(AssetError) as raised:
        file_to_webvtt(tmp_path / "given", tmp_path, form, 0)
    assert raised.value.code == "subtitles_unreadable"


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of pictures that begin at two seconds."""
    path = tmp_path_factory.mktemp("silent") / "clip.mkv"
    return media.write(path, media.Clip(pts=range(48, 144), time_base=Fraction(1, 24)))


def test_text_tracks_become_webvtt_from_the_assets_zero(silent: Path, tmp_path: Path) -> None:
    """Each track is a file of its own; times count from the first picture, and what ended before it is left out."""
    tracks = [
        ("subrip", "eng", [(500, 1500, b"Too early"), (1500, 3000, b"Early"), (3000, 4500, b"<b>One</b> & two")]),
        ("dvdsub", "ger", [(3000, 3500, bytes(8))]),
        (
            "ass",
            "fre",
            [(3000, 3500, rb"0,0,Default,,0,0,0,,{\an8}Un\Ndeux"), (4000, 4500, rb"1,0,Default,,0,0,0,,Trois")],
        ),
    ]
    path = with_tracks(silent, tmp_path / "clip.mkv", tracks)
    technical = quick_probe(path, "video", Limits())
    assert [(t.codec, t.language) for t in technical.subtitles] == [
        ("subrip", "eng"), ("dvd_subtitle", "ger"), ("ass", "fre"),
    ]  # fmt: skip
    first, last = tracks_to_webvtt(path, tmp_path, [0, 2])
    assert (first.file, last.file) == ("subtitles-0.vtt", "subtitles-2.vtt")
    assert cues(tmp_path / first.file) == [
        ("00:00:00.000", "00:00:01.000", "Early"), ("00:00:01.000", "00:00:02.500", "One & two"),
    ]  # fmt: skip
    assert cues(tmp_path / last.file) == [
        ("00:00:01.000", "00:00:01.500", "Un\ndeux"), ("00:00:02.000", "00:00:02.500", "Trois"),
    ]  # fmt: skip


def test_subtitles_of_an_mp4(silent: Path, tmp_path: Path) -> None:
    """MP4's timed text (3GPP TS 26.245), whose gaps are empty samples, gives its cues alone."""
    events = [(2000, 2500, b"\x00\x05Hallo"), (2500, 3000, b"\x00\x00"), (3000, 4000, "\0\x06Grüß".encode())]
    path = with_tracks(silent, tmp_path / "clip.mp4", [("mov_text", "ger", events)])
    (made,) = tracks_to_webvtt(path, tmp_path, [0])
    assert [text for _, _, text in cues(tmp_path / made.file)] == ["Hallo", "Grüß"]


def test_cues_stand_in_order_and_signs_are_escaped(tmp_path: Path) -> None:
    """A WebVTT file has its cues by their beginning, past the hour too, and no sign that would be read as markup."""
    path = tmp_path / "a.vtt"
    path.write_text(written([Cue(3661.5, 3662, "b --> <c>"), Cue(0.25, 1, "a & b")]), "utf-8")
    assert cues(path) == [("00:00:00.250", "00:00:01.000", "a & b"), ("01:01:01.500", "01:01:02.000", "b --> <c>")]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("clip.srt", Named()),
        ("clip.en.srt", Named("en")),
        ("clip.ger.srt", Named("de")),
        ("clip.pt-br.forced.vtt", Named("pt-BR", forced=True)),
        ("clip.en.sdh.ass", Named("en", sounds=True)),
        ("my.holiday.srt", Named()),
    ],
)
def test_a_sidecars_name_tells_its_language(name: str, told: Named) -> None:
    """The parts before the extension are a language, "forced" and "sdh"."""
    assert named(name) == told


@pytest.mark.parametrize(
    ("code", "tag"),
    [
        ("ger", "de"),
        ("deu", "de"),
        ("en", "en"),
        ("fil", "fil"),
        ("zh_hant", "zh-Hant"),
        ("und", ""),
        (None, ""),
        ("", ""),
    ],
)
def test_languages_are_named_as_players_want_them(code: str | None, tag: str) -> None:
    """Two letters where there are two, as BCP 47 has it; none where none is known."""
    assert bcp47(code) == tag


def test_a_run_gives_a_videos_subtitles(tmp_path: Path) -> None:
    """Tracks and sidecars are published and in the ladder; pictures of text and damage are skipped, with the reason.

    A second run makes nothing anew.
    """
    folder, place = tmp_path / "in", Place(tmp_path / "out")
    folder.mkdir()
    tracks = [("subrip", "eng", [(1000, 2000, b"Hello")]), ("dvdsub", "ger", [(1000, 2000, bytes(8))])]
    with_tracks(clip(tmp_path / "clip.mkv", 3), folder / "clip.mkv", tracks)
    (folder / "clip.pt-BR.forced.srt").write_text(SRT)
    (folder / "clip.fr.srt").write_bytes(b"\x00\xff" * 50)
    (row,) = place.run(folder).values()
    states = {s["step"]: (s["state"], s["code"]) for s in row["steps"] if s["step"].startswith("subtitles")}
    assert states == {
        "subtitles-0": ("completed", ""),
        "subtitles-1": ("skipped", "bitmap_subtitles"),
        "subtitles-2": ("skipped", "subtitles_unreadable"),
        "subtitles-3": ("completed", ""),
    }
    out = place.out / "published" / "default" / row["asset_id"] / "current"
    assert cues(out / "subtitles-0.vtt") == [("00:00:01.000", "00:00:02.000", "Hello")]
    assert cues(out / "subtitles-3.vtt") == CUES
    master = (out / "hls.m3u8").read_text()
    assert 'NAME="pt-BR",LANGUAGE="pt-BR",DEFAULT=NO,AUTOSELECT=YES,FORCED=YES,URI="hls-subtitles-3.m3u8"' in master
    referred = set(
        re.findall(r'URI="([^"]+)"|^([^#\n]+)$', "\n".join(p.read_text() for p in out.glob("hls*.m3u8")), re.M)
    )
    assert {first or second for first, second in referred} <= {path.name for path in out.iterdir()}
    assert all(found(place.run(folder)["clip.mkv"]).values())
