"""Sources as they come: containers and codecs, fields, pixel aspects, odd sizes, tracks of every kind."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import media_factory as make
import numpy as np
import pytest
from media_patches import Patches, write_patches
from media_rendering import planned, rendered
from PIL import Image

from operators.media.integrity import check_media
from operators.media.probe import quick_probe
from operators.media.video import render_chunk
from schemas.pipelines import Limits, PreviewParams
from schemas.technical import Technical

FRAMES = 60


def probe(path: Path) -> Technical:
    return quick_probe(path, "video", Limits())


@dataclass(frozen=True)
class Source:
    """How a numbered clip is encoded, with a sound beside it in `sound`'s coding."""

    name: str
    codec: str
    options: tuple[tuple[str, str], ...] = ()
    pixel_format: str = "yuv420p"
    rate: Fraction = Fraction(25)
    size: tuple[int, int] = (320, 192)
    b_frames: int = 0
    sound: str | None = None
    fields: str = ""

    def write(self, folder: Path, pictures: Iterator[np.ndarray] | None = None) -> Path:
        """Writes FRAMES numbered pictures, or these of uint8 (height, width, 3)."""
        path = folder / self.name
        drawn = pictures or (make.numbered(number, self.size) for number in range(FRAMES))
        with av.open(str(path), "w") as container:
            stream = self._stream(container)
            sound = self._sound(container)
            for number, picture in enumerate(drawn):
                container.mux(stream.encode(self._frame(picture, number)))
            container.mux(stream.encode(None))
            if sound is not None:
                resampler = av.AudioResampler(sound.codec_context.codec.audio_formats[0].name, "stereo", make.RATE)
                for block in make.sound_frames(make.tone(FRAMES / 25, 0.2), "stereo"):
                    for ready in resampler.resample(block):
                        container.mux(sound.encode(ready))
                container.mux(sound.encode(None))
        return path

    def _stream(self, container: Any) -> Any:
        stream = container.add_stream(self.codec, rate=self.rate, options=dict(self.options))
        stream.width, stream.height = self.size
        stream.pix_fmt, stream.gop_size = self.pixel_format, 12
        if "crf" not in dict(self.options):
            stream.bit_rate = 3_000_000
        stream.codec_context.thread_count, stream.codec_context.max_b_frames = 1, self.b_frames
        return stream

    def _sound(self, container: Any) -> Any:
        return container.add_stream(self.sound, rate=make.RATE, layout="stereo") if self.sound else None

    def _frame(self, picture: np.ndarray, number: int) -> Any:
        frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=self.pixel_format)
        frame.pts, frame.time_base, frame.pict_type = number, 1 / self.rate, 0
        return _marked(frame, self.fields) if self.fields else frame


def _marked(frame: Any, order: str) -> Any:
    """The picture as two fields, in the order tff or bff."""
    graph = av.filter.Graph()
    size, base = f"{frame.width}x{frame.height}", str(frame.time_base)
    source = graph.add("buffer", video_size=size, pix_fmt=frame.format.name, time_base=base)
    field, sink = graph.add("setfield", order), graph.add("buffersink")
    source.link_to(field)
    field.link_to(sink)
    graph.configure()
    graph.vpush(frame)
    marked = graph.vpull()
    marked.pict_type = 0
    return marked


X264 = (("preset", "ultrafast"), ("x264-params", "bframes=2:b-adapt=0:scenecut=0"))
VPX = (("deadline", "realtime"), ("cpu-used", "8"))
SOURCES = (
    Source("h264.ts", "libx264", X264, b_frames=2, sound="aac"),
    Source("mpeg2.ts", "mpeg2video", b_frames=2, sound="mp2"),
    Source("mpeg2.mpg", "mpeg2video", b_frames=2, sound="mp2"),
    Source("mpeg2.mxf", "mpeg2video", b_frames=2),
    Source("hevc.mkv", "libx265", (("preset", "ultrafast"), ("x265-params", "log-level=none")), sound="flac"),
    Source("ffv1.mkv", "ffv1", rate=Fraction(30000, 1001)),
    Source("vp9.webm", "libvpx-vp9", (("deadline", "good"), ("cpu-used", "5"), ("auto-alt-ref", "1")), sound="libopus"),
    Source("vp8.webm", "libvpx", VPX),
    Source("av1.webm", "libsvtav1", (("preset", "10"), ("crf", "10"), ("svtav1-params", "lp=1"))),
    Source("mpeg4.avi", "mpeg4", sound="libmp3lame"),
    Source("mpeg4-b.avi", "mpeg4", b_frames=2, rate=Fraction(24000, 1001)),
    Source("h264-b.avi", "libx264", X264, b_frames=2),
    Source("mjpeg.avi", "mjpeg", pixel_format="yuvj420p"),
    Source("prores.mov", "prores_ks", pixel_format="yuv422p10le", sound="pcm_s16le"),
    Source("qtrle.mov", "qtrle", pixel_format="rgb24"),
    Source("mpeg4.mp4", "mpeg4", b_frames=2, rate=Fraction(30000, 1001)),
    Source("flv1.flv", "flv", sound="libmp3lame"),
    Source("h264.flv", "libx264", X264, b_frames=2, sound="aac"),
    Source("wmv2.wmv", "wmv2"),
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda one: one.name)
def test_every_container_gives_every_picture_at_its_time(tmp_path: Path, source: Source) -> None:
    """Each picture of a source is in the mezzanine once, in the order it is shown, at the source's spacing."""
    path = source.write(tmp_path)
    plan = planned(path)
    joined, _ = rendered(path, tmp_path / "o", plan.only({"mezzanine"}))
    times, numbers = zip(*make.shown(joined), strict=True)
    assert list(numbers) == list(range(FRAMES)) and plan.frames == FRAMES
    tick = 0.0011 if plan.time_base == Fraction(1, 1000) else 1e-4
    gaps = [float(time - times[0]) - float(number / source.rate) for number, time in enumerate(times)]
    assert max(map(abs, gaps)) < (tick if source.name != "mpeg4.avi" else 1 / 24)
    assert 0 <= float(times[0]) < 0.05
    assert check_media(path).pictures == FRAMES
    assert len(plan.chunks) > 2 or path.suffix in (".avi", ".mpg")


CUT = ("-ss", "1.3", "-i", "{0}", "-c", "copy")
TIMINGS = {
    "pre-roll.mp4": CUT,
    "pre-roll.mov": CUT,
    "both-ends.mp4": ("-ss", "1.3", "-t", "1.5", "-i", "{0}", "-c", "copy"),
    "late-video.mp4": ("-itsoffset", "0.5", "-i", "{0}", "-i", "{0}", "-map", "0:v", "-map", "1:a", "-c", "copy"),
    "late-sound.mp4": ("-i", "{0}", "-itsoffset", "0.5", "-i", "{0}", "-map", "0:v", "-map", "1:a", "-c", "copy"),
    "fragments.mp4": ("-i", "{0}", "-c", "copy", "-movflags", "frag_keyframe+empty_moov"),
    "no-edit-list.mp4": ("-i", "{0}", "-c", "copy", "-use_editlist", "0"),
    "offset.ts": ("-i", "{0}", "-c", "copy", "-output_ts_offset", "5000"),
}


@pytest.fixture(scope="module")
def b_pyramid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds with sound, B-frames and a key frame each second."""
    clip = make.Clip(audio=make.tone(4, 0.2), gop=24, x264="bframes=3:b-adapt=0:scenecut=0")
    return make.write(tmp_path_factory.mktemp("timings") / "source.mp4", clip)


@pytest.mark.tool("ffmpeg")
@pytest.mark.parametrize("name", TIMINGS)
def test_edit_lists_and_offsets_are_kept_as_a_player_has_them(tmp_path: Path, b_pyramid: Path, name: str) -> None:
    """Pictures that an edit list hides are left out, the others are where ffprobe's decoder says."""
    path = tmp_path / name
    arguments = [one.format(b_pyramid) for one in TIMINGS[name]]
    subprocess.run(["ffmpeg", "-v", "error", *arguments, str(path)], check=True)
    entries = ["-select_streams", "v", "-show_entries", "frame=best_effort_timestamp_time", "-of", "json"]
    told = subprocess.run(["ffprobe", "-v", "error", *entries, str(path)], check=True, capture_output=True).stdout
    wanted = [float(frame["best_effort_timestamp_time"]) for frame in json.loads(told)["frames"]]
    plan = planned(path)
    joined, _ = rendered(path, tmp_path / "o", plan.only({"mezzanine"}))
    times = [float(time + plan.origin) for time, _ in make.shown(joined)]
    assert times == pytest.approx(wanted, abs=2e-6)


def combed(order: str, size: tuple[int, int], count: int) -> Iterator[np.ndarray]:
    """A bright bar that moves 4 pixels a field on grey; the first field's rows are a field's time before the others."""
    first = 0 if order == "tff" else 1
    for number in range(count):
        picture = np.full((size[1], size[0], 3), 60, np.uint8)
        for field in (0, 1):
            left = 40 + 4 * (2 * number + field)
            picture[(first + field) % 2 :: 2, left : left + 24] = 220
        yield picture


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize(
    "source",
    [
        Source("i.ts", "mpeg2video", (("flags", "+ilme+ildct"),), b_frames=2, sound="mp2"),
        Source("i.mp4", "libx264", (("preset", "ultrafast"), ("crf", "12"), ("flags", "+ilme+ildct"))),
        Source("i.mxf", "mpeg2video", (("flags", "+ilme+ildct"),), pixel_format="yuv422p"),
        Source("i.mov", "prores_ks", (("flags", "+ildct"),), pixel_format="yuv422p10le"),
    ],
    ids=lambda one: one.name,
)
def test_fields_become_frames_of_their_first_field(tmp_path: Path, source: Source, order: str) -> None:
    """Either field first, no picture is lost, and each shows the time of its first field, without a comb."""
    size = source.size
    made = Source(**{**source.__dict__, "fields": order})
    path = made.write(tmp_path, combed(order, size, 24))
    video = probe(path).video
    assert video is not None and video.interlaced
    joined, results = rendered(path, tmp_path / "o", planned(path).only({"mezzanine"}))
    assert sum(result.frames for result in results) == 24
    with av.open(str(joined)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 24 and not any(frame.interlaced_frame for frame in frames)
    for number in range(2, 22):
        luma = frames[number].reformat(format="gray").to_ndarray()[32:-32:]
        lefts = (luma[:, :300] > 130).argmax(axis=1) * size[0] / luma.shape[1]
        assert np.median(np.abs(lefts - (40 + 8 * number))) <= 1.5
        assert np.ptp(lefts) <= 3


def test_a_storyboard_of_fields_is_the_same_alone_as_beside_other_outputs(tmp_path: Path) -> None:
    """Where only key frames are wanted, fields are still made frames with their true neighbours, not with far ones."""
    coded = (("preset", "ultrafast"), ("crf", "10"), ("flags", "+ilme+ildct"))
    size = (640, 192)
    path = Source("i.mp4", "libx264", coded, size=size, fields="tff").write(tmp_path, combed("tff", size, 60))
    plan = planned(path, preview=PreviewParams(storyboard_every_s=0.48))
    assert "storyboard" in plan.on_keys
    tiles = []
    for name, outputs in (("alone", {"storyboard"}), ("beside", {"storyboard", "mezzanine"})):
        (tmp_path / name).mkdir()
        results = [render_chunk(path, tmp_path / name, plan.only(outputs), *one) for one in plan.chunks]
        files = [tmp_path / name / file for result in results for _, file in result.kept.tiles]
        tiles.append([np.asarray(Image.open(file), int) for file in files])
    assert len(tiles[0]) == len(tiles[1]) >= 5
    assert max(np.abs(a - b).max() for a, b in zip(*tiles, strict=True)) <= 4


@pytest.mark.parametrize(
    ("name", "aspect"),
    [("a.mp4", "4/3"), ("a.mp4", "64/45"), ("a.mkv", "16/11"), ("a.mkv", "8/9"), ("a.ts", "12/11"), ("a.ts", "1/2")],
)
@pytest.mark.tool("ffprobe")
def test_pixels_become_square(tmp_path: Path, name: str, aspect: str) -> None:
    """Height stays, width follows the pixel aspect to the even number that fits; the output says so."""
    clip = make.Clip(pts=range(4), size=(180, 144), pixel_aspect=aspect)
    path = make.write(tmp_path / name, clip)
    joined, _ = rendered(path, tmp_path / "o", planned(path).only({"mezzanine"}))
    command = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_streams", "-of", "json", str(joined)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["streams"][0]
    wanted = 180 * float(Fraction(aspect))
    assert found["height"] == 144 and abs(found["width"] - wanted) < 2
    assert found["sample_aspect_ratio"] == "1:1"


@pytest.mark.parametrize(("rotation", "size"), [(0, (240, 144)), (90, (144, 240)), (270, (144, 240))])
def test_a_turned_picture_of_wide_pixels_stands_upright(tmp_path: Path, rotation: int, size: tuple[int, int]) -> None:
    """Pixels are made square before the picture is turned."""
    clip = make.Clip(pts=range(4), size=(180, 144), pixel_aspect="4/3", rotation=rotation)
    path = make.write(tmp_path / "a.mp4", clip)
    joined, _ = rendered(path, tmp_path / "o", planned(path).only({"mezzanine"}))
    video = probe(joined).video
    assert video is not None and (video.width, video.height) == size
    assert make.number_of(next(_frames(joined)), {0: 0, 90: -1, 270: 1}[rotation]) == 0


def _frames(path: Path) -> Iterator[Any]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_size_that_changes_in_the_stream_loses_no_picture(tmp_path: Path, interlaced: bool) -> None:
    """A broadcast may change its size: every picture is there, at the size of the first."""
    parts = [
        make.Clip(pts=range(at, at + 24), size=size, interlaced=interlaced)
        for at, size in ((0, (320, 192)), (24, (240, 144)))
    ]
    files = [make.write(tmp_path / f"{at}.ts", part) for at, part in enumerate(parts)]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(file.read_bytes() for file in files))
    plan = planned(path)
    joined, _ = rendered(path, tmp_path / "o", plan.only({"mezzanine"}))
    assert [number for _, number in make.shown(joined)] == [*range(24), *range(24)]
    video = probe(joined).video
    assert video is not None and (video.width, video.height) == (300, 180)


CORNERS = (((0.9, 0.1, 0.1), (0.1, 0.8, 0.1)), ((0.1, 0.1, 0.9), (0.9, 0.9, 0.2)))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "yuv444p"])
@pytest.mark.parametrize("size", [(321, 181), (181, 321), (33, 17), (1, 1)])
def test_odd_sizes_keep_their_edges(tmp_path: Path, size: tuple[int, int], pixel_format: str) -> None:
    """An odd row or column is neither lost in a coloured seam nor cut: corners show their own colour."""
    path = write_patches(tmp_path / "c.mkv", Patches(CORNERS, pixel_format=pixel_format, size=size, frames=2))
    joined, _ = rendered(path, tmp_path / "o", planned(path).only({"mezzanine"}))
    video = probe(joined).video
    assert video is not None
    assert 2 * (video.width // 2) == video.width and 2 * (video.height // 2) == video.height
    assert video.width <= max(2, size[0]) and video.height <= max(2, size[1])
    if min(size) < 16:
        return
    with av.open(str(joined)) as container:
        picture = next(container.decode(video=0)).reformat(format="rgb24", dst_color_range=2).to_ndarray()
    for row, cells in ((0, CORNERS[0]), (-1, CORNERS[1])):
        for column, wanted in ((0, cells[0]), (-1, cells[1])):
            assert np.abs(picture[row, column] - np.array(wanted) * 255).max() < 26
