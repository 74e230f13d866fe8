"""The ladder: which renditions are made, that they are cut at the same pictures, and that each codec's chunks join."""

from __future__ import annotations

import json
import math
import os
import subprocess
from array import array
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import media_factory as make
import pytest
from media_rendering import UNEVEN, planned
from pydantic import ValidationError
from work_factory import work

from operators.media.chunks import Timeline, plan_chunks, read_timeline
from operators.media.encoder import Encoder
from operators.media.join import join
from operators.media.ladder import borders_of, encodes_of
from operators.media.plan import RenderPlan, plan_video
from operators.media.probe import quick_probe
from operators.media.video import render_chunk
from operators.stages.chunks import steps_of
from schemas.asset import Kind
from schemas.errors import AssetError
from schemas.pipelines import ByContent, Limits, PreviewParams, Rung, VideoEncode, VideoParams
from schemas.technical import Mastering, VideoTrack

OPEN_GOP = "open-gop=1:bframes=3:b-adapt=0:scenecut=0:keyint=12:min-keyint=12"
QUICK = {"hevc": "ultrafast", "av1": "9"}
RUNGS = (
    Rung(height=120, crf=30, preset="ultrafast"),
    Rung(height=120, crf=34, codec="hevc", preset="ultrafast"),
    Rung(height=90, crf=34, codec="hevc", bit_depth=10, preset="ultrafast"),
    Rung(height=120, crf=30, codec="av1", preset="9"),
    Rung(height=90, crf=30, codec="av1", bit_depth=10, preset="9"),
)
LADDER = VideoParams(
    mezzanine=VideoEncode(height=180, crf=30, gop_s=2.0, preset="ultrafast"),
    preview=VideoEncode(height=90, crf=30, gop_s=1.0, preset="ultrafast"),
    ladder=RUNGS,
    chunk_s=1.4,
    segment_s=0.7,
)
NAMES = {
    "mezzanine": ("h264", "yuv420p", 180),
    "preview": ("h264", "yuv420p", 90),
    "h120": ("h264", "yuv420p", 120),
    "hevc120": ("hevc", "yuv420p", 120),
    "hevc90-10bit": ("hevc", "yuv420p10le", 90),
    "av1120": ("av1", "yuv420p", 120),
    "av190-10bit": ("av1", "yuv420p10le", 90),
}
CLIPS: dict[str, make.Clip] = {
    "constant.mp4": make.Clip(),
    "variable.mkv": make.Clip(pts=UNEVEN),
    "b-frames.mp4": make.Clip(x264="bframes=5:b-pyramid=normal:b-adapt=0:scenecut=0", gop=40),
    "open-gop.ts": make.Clip(x264=OPEN_GOP),
    "start-offset-rotated.mp4": make.Clip(pts=range(90, 186), rotation=90),
    "ntsc-portrait.mkv": make.Clip(time_base=Fraction(1001, 30000), size=(180, 320), pixel_format="yuv422p10le"),
    "fast-anamorphic.mp4": make.Clip(
        pts=range(160), time_base=Fraction(1, 50), gop=40, pixel_aspect="4/3", rotation=270
    ),
}


def probed(path: Path, entries: str) -> Any:
    """What ffprobe says of a file's video track."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", entries, "-of", "json", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def joined(path: Path, folder: Path, plan: RenderPlan) -> dict[str, Path]:
    """Every encode's chunks, joined."""
    folder.mkdir(exist_ok=True)
    results = [dict(render_chunk(path, folder, plan, *one).encodes) for one in plan.chunks]
    made = {}
    for name in results[0]:
        made[name] = folder / f"{name}.mp4"
        join([folder / one[name] for one in results], None, made[name], plan.origin)
    return made


def upright(clip: make.Clip) -> tuple[int, float]:
    """Quarters counterclockwise that a rendition is turned back by to be as stored, and its width by its height."""
    shape = clip.size[0] * float(Fraction(clip.pixel_aspect or "1/1")) / clip.size[1]
    return {None: (0, shape), 90: (-1, 1 / shape), 270: (1, 1 / shape)}[clip.rotation]


@pytest.mark.tool("ffprobe")
@pytest.mark.parametrize("name", CLIPS)
def test_all_codecs_chunks_join_and_can_be_cut_at_the_same_pictures(tmp_path: Path, name: str) -> None:
    """In every codec all pictures are there at their times, and each border is a key picture."""
    path = make.write(tmp_path / name, CLIPS[name])
    plan = planned(path, LADDER)
    source = make.shown(path)
    borders = {pts * plan.time_base - plan.origin for pts in plan.borders}
    assert len(plan.chunks) > 1 and len(plan.borders) > len(plan.chunks)
    turns, shape = upright(CLIPS[name])
    made = joined(path, tmp_path / "out", plan)
    assert made.keys() == NAMES.keys()
    for rendition, file in made.items():
        found = probed(file, "stream=codec_name,pix_fmt,width,height,time_base:frame=pts,key_frame,pict_type")
        stream, frames = found["streams"][0], found["frames"]
        codec, pixels, short = NAMES[rendition]
        assert (stream["codec_name"], stream["pix_fmt"]) == (codec, pixels)
        assert min(stream["width"], stream["height"]) == short
        assert abs(stream["width"] - stream["height"] * shape) <= 2
        times = [frame["pts"] * Fraction(stream["time_base"]) for frame in frames]
        assert times == [time - plan.origin for time, _ in source]
        assert borders <= {time for time, frame in zip(times, frames, strict=True) if frame["key_frame"]}
        assert [number for _, number in make.shown(file, turns)] == [number for _, number in source]


MASTERING = Mastering(
    primaries=(0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329),
    min_nits=0.005,
    max_nits=1000.0,
    max_cll=900,
    max_fall=250,
)


@pytest.fixture(scope="module")
def hdr10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PQ source in two GOPs, which tells of its mastering; made by the encoder under test, read by others."""
    folder = tmp_path_factory.mktemp("hdr")
    raw = make.write(folder / "raw.mkv", make.Clip(pixel_format="yuv420p10le", tags=(9, 16, 9), pts=range(40), gop=20))
    plan = planned(raw, with_hdr("hevc"))
    assert plan.wide is not None
    plan = replace(plan, wide=replace(plan.wide, mastering=MASTERING))
    return joined(raw, folder / "source", plan.only({"hdr"}))["hdr"]


def with_hdr(codec: Any, **fields: Any) -> VideoParams:
    """Parameters for an HDR rendition in a codec."""
    rung = Rung(height=180, crf=26, gop_s=0.8, codec=codec, bit_depth=10, preset=QUICK[codec])
    return LADDER.model_copy(update={"ladder": (), "hdr_encode": rung, **fields})


def test_an_av1_encoder_leaves_other_processes_their_time(tmp_path: Path) -> None:
    """Neither its caller nor its threads are real-time ones, whatever the user may do."""
    plan = planned(make.write(tmp_path / "c.mp4", make.Clip(pts=range(6))), LADDER)
    encoder = Encoder(tmp_path / "o.mp4", next(e for e in plan.encodes if e.codec == "av1"), plan)
    threads = [int(path.name) for path in Path("/proc/self/task").iterdir()]
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}
    encoder.close()


@pytest.mark.tool("ffprobe")
@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_an_hdr_rendition_keeps_volume_depth_and_mastering(tmp_path: Path, hdr10: Path, codec: str) -> None:
    """Beside those of standard range there is one in 10 bits with the source's tags, mastering and light level."""
    plan, line = planned(hdr10, with_hdr(codec)), read_timeline(hdr10)
    plan = replace(plan, chunks=((None, line.keys[1]), (line.keys[1], None)))
    assert [encode.name for encode in plan.encodes] == ["mezzanine", "preview", "hdr"]
    made = joined(hdr10, tmp_path / "out", plan)
    entries = (
        "stream=codec_name,codec_tag_string,pix_fmt,color_space,color_primaries,color_transfer:frame=side_data_list"
    )
    found = probed(made["hdr"], entries + ":frame_side_data")
    tags = ("bt2020nc", "bt2020", "smpte2084")
    stream, sides = found["streams"][0], {s["side_data_type"]: s for s in found["frames"][0]["side_data_list"]}
    assert (stream["color_space"], stream["color_primaries"], stream["color_transfer"]) == tags
    assert stream["pix_fmt"] == "yuv420p10le"
    assert (stream["codec_name"], stream["codec_tag_string"]) == (codec, {"hevc": "hvc1", "av1": "av01"}[codec])
    display, light = sides["Mastering display metadata"], sides["Content light level metadata"]
    assert float(Fraction(display["max_luminance"])) == pytest.approx(1000)
    assert float(Fraction(display["min_luminance"])) == pytest.approx(0.005, rel=0.01)
    assert float(Fraction(display["green_x"])) == pytest.approx(0.265, abs=1e-4)
    assert float(Fraction(display["white_point_y"])) == pytest.approx(0.329, abs=1e-4)
    assert (light["max_content"], light["max_average"]) == (900, 250)
    assert [number for _, number in make.shown(made["hdr"])] == list(range(40))
    standard = probed(made["mezzanine"], "stream=pix_fmt,color_transfer")["streams"][0]
    assert (standard["pix_fmt"], standard["color_transfer"]) == ("yuv420p", "bt709")


@pytest.mark.tool("ffprobe")
def test_an_hdr_rendition_of_hlg_is_hlg(tmp_path: Path) -> None:
    """Its transfer is kept, and since HLG needs no mastering display it tells of none."""
    path = make.write(tmp_path / "c.mkv", make.Clip(pixel_format="yuv420p10le", tags=(9, 18, 9), pts=range(12)))
    hdr = joined(path, tmp_path / "out", planned(path, with_hdr("hevc")).only({"hdr"}))["hdr"]
    found = probed(
        hdr, "stream=pix_fmt,color_space,color_primaries,color_transfer:frame=side_data_list:frame_side_data"
    )
    stream = found["streams"][0]
    tags = stream["color_space"], stream["color_primaries"], stream["color_transfer"]
    assert (stream["pix_fmt"], *tags) == ("yuv420p10le", "bt2020nc", "bt2020", "arib-std-b67")
    kinds = {side["side_data_type"] for side in found["frames"][0].get("side_data_list", [])}
    assert "Mastering display metadata" not in kinds
    assert [number for _, number in make.shown(hdr)] == list(range(12))


def test_an_hdr_rendition_is_made_of_hdr_alone_and_can_be_left_out(tmp_path: Path, hdr10: Path) -> None:
    """A source of standard range has none, nor does a pipeline that wants none."""
    plain = planned(make.write(tmp_path / "c.mp4", make.Clip(pts=range(6))), with_hdr("hevc"))
    unwanted = planned(hdr10, with_hdr("hevc", hdr=False))
    assert plain.wide is None and unwanted.wide is None
    assert {encode.name for plan in (plain, unwanted) for encode in plan.encodes} == {"mezzanine", "preview"}


def track(width: int, height: int, **fields: Any) -> VideoTrack:
    """A video track of this size."""
    return VideoTrack(codec="h264", width=width, height=height, **fields)


HEIGHTS = VideoParams(
    ladder=(
        *(Rung(height=height, crf=23) for height in (240, 2160, 1080, 720, 540)),
        *(Rung(height=height, crf=26, codec="hevc") for height in (1080, 720)),
        Rung(height=1080, crf=34, codec="av1", bit_depth=10),
    )
)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("aspect", ["1/1", "4/3", "3/4"])
@pytest.mark.parametrize("size", [(3840, 2160), (1920, 1080), (1080, 1920), (1280, 720), (853, 481), (322, 180)])
def test_rungs_are_never_larger_than_the_source_nor_twice_there(size: tuple[int, int], aspect: str, turn: Any) -> None:
    """Whatever the source's size, aspect and rotation: rungs fall in size, are even, differ and enlarge nothing."""
    source = track(*size, pixel_aspect=aspect, rotation=turn)
    encodes = encodes_of(source, HEIGHTS, Fraction(24))
    area = size[0] * Fraction(aspect) * size[1]
    assert len({(e.codec, e.bit_depth, e.size) for e in encodes[1:]}) == len(encodes) - 1
    assert len({e.name for e in encodes}) == len(encodes)
    assert encodes[0].size not in {e.size for e in encodes[2:] if e.codec == "h264"}
    assert all(e.width % 2 == e.height % 2 == 0 and e.width * e.height <= area for e in encodes)
    assert all(min(e.size) <= min(size[0] * Fraction(aspect), size[1]) for e in encodes)
    assert [e.name for e in encodes[:2]] == ["mezzanine", "preview"]
    areas = [math.prod(e.size) for e in encodes[2:]]
    assert areas == sorted(areas, reverse=True)
    shape = size[0] * Fraction(aspect) / size[1]
    upright = shape if turn in (0, 180) else 1 / shape
    assert all(abs(e.width - e.height * upright) <= 2 * max(1, upright) for e in encodes)


def test_a_rung_of_the_mezzanines_size_is_left_out_but_in_another_codec() -> None:
    """Of a 720p source the rungs of 1080 and 720 lines are the mezzanine; HEVC and AV1 are made once."""
    names = [e.name for e in encodes_of(track(1280, 720), HEIGHTS, Fraction(25))]
    assert names == ["mezzanine", "preview", "hevc720", "av1720-10bit", "h540", "h240"]
    deep = {"height": 720, "crf": 20, "bit_depth": 10}
    with pytest.raises(ValidationError, match="8 bits"):
        Rung(**deep)
    assert Rung(**deep, codec="hevc").bit_depth == 10
    with pytest.raises(ValidationError, match="10 bits"):
        VideoParams(hdr_encode=Rung(height=720, crf=20, codec="hevc"))


def test_pictures_too_small_for_a_codec_are_left_to_h264(tmp_path: Path) -> None:
    """A strip of a few lines has no HEVC, AV1 or HDR rendition; one of 16 lines has all, and they are encoded."""
    assert {e.codec for e in encodes_of(track(320, 14, hdr="pq"), HEIGHTS, Fraction(25))} == {"h264"}
    path = make.write(tmp_path / "c.mp4", make.Clip(pts=range(6), size=(320, 16)))
    made = joined(path, tmp_path / "out", planned(path, LADDER))
    assert {name: len(make.shown(file)) for name, file in made.items()} == {
        "mezzanine": 6, "preview": 6, "hevc16": 6, "hevc16-10bit": 6, "av116": 6, "av116-10bit": 6,
    }  # fmt: skip


def timeline(pictures: list[int], keys: list[int]) -> Timeline:
    """Pictures at these ticks of 1/24 s; the last lasts one."""
    return Timeline(
        Fraction(1, 24), Fraction(0), pictures[-1] + 1, False, Fraction(24), array("q", pictures), tuple(keys)
    )


PICTURES = {"even": list(range(24 * 40)), "uneven": sorted({i + i * i // 200 for i in range(700)}), "one": [5]}


@pytest.mark.parametrize("gop", [1, 12, 48, 65, 250, 10_000])
@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("seconds", [1.0, 4.0, 6.0])
def test_segments_begin_with_pictures_and_are_about_as_long_as_asked_for(kind: str, gop: int, seconds: float) -> None:
    """Every chunk begins one; the others begin at pictures, none is far from the length, short ones end a chunk."""
    pictures = PICTURES[kind]
    line = timeline(pictures, pictures[::gop])
    chunks = plan_chunks(line.keys, line.end, line.time_base, 10.0)
    borders = borders_of(line, chunks, seconds)
    assert list(borders) == sorted(set(borders)) and set(borders) <= set(pictures)
    starts = {line.first, *(start for start, _ in chunks if start is not None)}
    assert starts <= set(borders)
    for one, other in pairwise((*borders, line.end)):
        length = float((other - one) * line.time_base)
        assert length <= 1.5 * seconds + 0.4 and (length >= seconds / 2 or one in starts)


def test_segments_begin_with_the_sources_key_pictures_where_they_can() -> None:
    """Key pictures each 2 s are the borders of 4 s segments, so that a copy of the source is cut there as well."""
    pictures = list(range(24 * 40))
    line = timeline(pictures, pictures[::50])
    borders = borders_of(line, plan_chunks(line.keys, line.end, line.time_base, 10.0), 4.0)
    assert set(borders) <= set(line.keys) and len(borders) > 5


def test_a_size_is_made_the_same_way_whatever_else_is_asked_for(tmp_path: Path) -> None:
    """A rung that is made alone is equal, bit by bit, to the one made beside all others."""
    path = make.write(tmp_path / "c.mp4", make.Clip(pts=range(24)))
    plan = planned(path, LADDER)
    files = []
    for name, one in (("all", plan), ("alone", plan.only({"preview"}))):
        (tmp_path / name).mkdir()
        result = render_chunk(path, tmp_path / name, one, None, None)
        files.append((tmp_path / name / dict(result.encodes)["preview"]).read_bytes())
    assert files[0] == files[1] and plan.scaled_through((160, 90)) == [(320, 180), (214, 120), (160, 90)]


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_chunks_of_different_settings_are_not_joined_in_any_codec(tmp_path: Path, codec: Any) -> None:
    """Joining compares the codec's headers: of two sizes it makes no file."""
    path = make.write(tmp_path / "c.mp4", make.Clip(pts=range(48)))
    rungs = [Rung(height=height, crf=30, codec=codec, preset=QUICK[codec]) for height in (120, 90)]
    plan = planned(path, LADDER.model_copy(update={"ladder": tuple(rungs)}))
    made = [dict(render_chunk(path, tmp_path, plan, *one).encodes) for one in plan.chunks[:2]]
    with pytest.raises(AssetError, match="different settings"):
        join([tmp_path / made[0][f"{codec}120"], tmp_path / made[1][f"{codec}90"]], None, tmp_path / "x.mp4")


def test_a_chunks_step_says_all_that_decides_its_bytes(tmp_path: Path) -> None:
    """Another segment length or rung makes those encodes anew that it changes, and no others."""
    path = make.write(tmp_path / "c.mp4", make.Clip(pts=range(24)))
    technical = quick_probe(path, "video", Limits())

    def ids(**changes: Any) -> dict[str, str]:
        params = LADDER.model_copy(update={"ladder": RUNGS[:1], **changes})
        plan = plan_video(path, technical, params, PreviewParams())
        made = work(Kind.VIDEO)
        made = made.model_copy(update={"pipeline": made.pipeline.model_copy(update={"video": params})})
        names = [*(encode.name for encode in plan.encodes), "storyboard", "stills", "poster"]
        return {s.name.removeprefix("chunk-"): s.result_id("t") for s in steps_of(made, plan, names, plan.chunks[0])}

    def changed(**changes: Any) -> set[str]:
        before, after = ids(), ids(**changes)
        return {name for name in before if before[name] != after.get(name)}

    assert changed(segment_s=2.0) == {"mezzanine", "preview", "h120"}
    assert changed(ladder=(*RUNGS[:1], Rung(height=60, crf=30))) == set()
    assert changed(ladder=(*RUNGS[:1], Rung(height=140, crf=30))) == {"h120", "preview", "storyboard", "stills"}
    assert changed(ladder=(Rung(height=120, crf=31, preset="ultrafast"),)) == {"h120"}
    assert changed(hdr=False, by_content=ByContent()) == set()
