"""The first segment that can be played: a little encode of the first seconds, or the source's own packets of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.video.frame import PictureType
from av.video.reformatter import Interpolation, VideoReformatter

from operators.media import h273
from operators.media.boxes import require_whole
from operators.media.chunks import FIRST_WINDOW_S, Timeline, timeline_of
from operators.media.encoder import settings
from operators.media.frames import Upright
from operators.media.plan import RenderPlan, plan_of
from operators.media.probe import probed, web_friendly
from operators.media.segments import split
from operators.media.sound import downmix, through
from operators.media.source import Media, audio_of, corrupt, only, opened, strict, video_of
from schemas.errors import AssetError
from schemas.pipelines import AudioParams, Limits, PreviewParams, VideoParams
from schemas.technical import Technical

# Reading ends here even where a track has no packets in the first seconds.
_MOST_BYTES, _LATE_S = 64 * 2**20, 2
_COPIED_BITS = 8_000_000  # per second, at most: what a player without a choice of renditions can fetch
_THREADS = 2
# The first decode and composition times become the tracks' edit lists, and so the encoder's priming is declared.
_MUXING = {"movflags": "+frag_keyframe+empty_moov+default_base_moof+delay_moov"}


@dataclass(frozen=True)
class FirstSegment:
    """Initialization and media segment of fragmented MP4, when it ends in s from the asset's zero, and its pictures.

    `whole` tells that there are no others, `copied` that the packets are the source's own.
    """

    init: bytes
    media: bytes
    end: Fraction
    pictures: int
    whole: bool
    copied: bool


@dataclass(frozen=True)
class Head:
    """An open container, its first tracks, their first packets, and whether there are no others."""

    container: InputContainer
    video: Any
    audio: Any
    pictures: list[Any]
    sounds: list[Any]
    all: bool


@contextmanager
def head_of(path: Media) -> Iterator[Head | None]:
    """Opens a file once for its probe and its first segment: an index of an hour takes long to read.

    None where it has no pictures. Errors: empty_file, unreadable_header, truncated, corrupt_media.
    """
    require_whole(path)
    with opened(path) as container:
        video, audio = video_of(container), audio_of(container)
        yield None if video is None else _head(container, video, audio)


def probe_of(head: Head, path: Media, limits: Limits) -> Technical:
    """`quick_probe` of the open file at `path`; errors are its own."""
    return probed(path, head.container, "video", limits, head.pictures, _THREADS)


def first_segment(
    head: Head, technical: Technical, video: VideoParams, audio: AudioParams, preview: PreviewParams
) -> FirstSegment:
    """The first seconds of a probed video, pictures and sound from the asset's zero on.

    Errors: no_media_stream, no_key_frame, corrupt_media (with the time).
    """
    if technical.video is None:
        raise AssetError("no_media_stream", "no video track")
    timeline = timeline_of(head.container, head.video, head.pictures)
    cut = timeline.first_cut
    if cut is None and not head.all:
        raise AssetError("no_key_frame", "the first pictures cannot be told from the others")
    if web_friendly(technical, video) and _is_closed(head.pictures, cut):
        copied = _copied(head, timeline, cut)
        if copied is not None:
            return copied
    small = video.model_copy(update={"mezzanine": video.preview, "ladder": (), "by_content": None, "hdr": False})
    plan = plan_of(timeline, technical.video, small, preview).only({"preview"})
    return _encoded(head, timeline, plan, audio)


def _head(container: InputContainer, video: Any, audio: Any) -> Head:
    tracks = [track for track in (video, audio) if track is not None]
    only(container, *tracks)
    end = (video.start_time or 0) * video.time_base + FIRST_WINDOW_S
    kept: dict[int, list[Any]] = {track.index: [] for track in tracks}
    behind, size, whole = set(kept), 0, True
    try:
        for packet in container.demux(*tracks):
            if not packet.size:
                continue
            kept[packet.stream.index].append(packet)
            size += packet.size
            at = packet.dts if packet.dts is not None else packet.pts
            late = None if at is None else at * packet.time_base - end
            if late is not None and late >= 0:
                behind.discard(packet.stream.index)
            far = late is not None and packet.stream is video and late > _LATE_S
            if not behind or far or size > _MOST_BYTES:
                whole = False
                break
    except av.FFmpegError as error:
        raise corrupt("media", None, error) from error
    return Head(container, video, audio, kept[video.index], [] if audio is None else kept[audio.index], whole)


def _is_closed(packets: Sequence[Any], cut: int | None) -> bool:
    """Whether the pictures before the cut need none after it, and the others none before."""
    if not packets[0].is_keyframe or any(packet.is_discard for packet in packets):
        return False
    if cut is None:
        return True
    place = next((i for i, packet in enumerate(packets) if packet.pts == cut), None)
    if place is None or not packets[place].is_keyframe:
        return False
    return all(p.pts < cut for p in packets[:place]) and all(p.pts >= cut for p in packets[place:])


def _copied(head: Head, timeline: Timeline, cut: int | None) -> FirstSegment | None:
    """The source's packets; None where there are too many bytes to fetch."""
    video, audio = head.video, head.audio
    end = timeline.end if cut is None else cut
    until = end * video.time_base - timeline.origin
    pictures = [packet for packet in head.pictures if packet.pts < end]
    stop = end * video.time_base
    heard = [p for p in head.sounds if cut is None or (p.pts + p.duration / 2) * p.time_base < stop]
    if sum(packet.size for packet in [*pictures, *heard]) * 8 > _COPIED_BITS * until:
        return None
    out = io.BytesIO()
    options = {**_MUXING, "video_track_timescale": str(video.time_base.denominator)}
    with av.open(out, "w", format="mp4", options=options) as container:
        tracks = {video.index: container.add_stream_from_template(video)}
        if audio is not None:
            tracks[audio.index] = container.add_stream_from_template(audio)
        for packet in sorted([*pictures, *heard], key=lambda packet: packet.dts * packet.time_base):
            ticks = round(timeline.origin / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.dts - ticks, tracks[packet.stream.index]
            container.mux(packet)
    return FirstSegment(*split(out.getvalue()), until, len(pictures), cut is None, copied=True)


def _encoded(head: Head, timeline: Timeline, plan: RenderPlan, params: AudioParams) -> FirstSegment:
    """An encode of its own, flushed at its end: a look ahead costs no waiting."""
    out, cut = io.BytesIO(), timeline.first_cut
    end = (timeline.end if cut is None else cut) * plan.time_base - plan.origin
    ticks = str(plan.time_base.denominator)
    with av.open(out, "w", format="mp4", options={**_MUXING, "video_track_timescale": ticks}) as container:
        encoder = _video_encoder(container, plan)
        sounds = _sound_encoder(container, params) if head.sounds else None
        packets, count = list[Any](), 0
        for picture in _small(_decoded(head.video, head.pictures), plan, cut):
            picture.pts -= round(plan.origin / plan.time_base)
            packets += encoder.encode(picture)
            count += 1
        packets += encoder.encode(None)
        if sounds is not None:
            for frame in _heard(head.audio, head.sounds, plan.origin, params.sample_rate, end):
                packets += sounds.encode(frame)
            packets += sounds.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return FirstSegment(*split(out.getvalue()), end, count, cut is None, copied=False)


def _video_encoder(container: Any, plan: RenderPlan) -> Any:
    encode = plan.encodes[0]
    stream = container.add_stream("libx264", rate=plan.rate, options=settings(encode))
    stream.width, stream.height, stream.pix_fmt = encode.width, encode.height, "yuv420p"
    stream.gop_size, stream.thread_count, stream.thread_type = 10_000, _THREADS, "FRAME"
    context = stream.codec_context
    context.time_base, context.sample_aspect_ratio = plan.time_base, Fraction(1, 1)
    h273.tag(context, plan.colour)
    return stream


def _sound_encoder(container: Any, params: AudioParams) -> Any:
    stream = container.add_stream("aac", rate=params.sample_rate, layout="stereo")
    stream.bit_rate = params.preview_bit_rate
    return stream


def _decoded(track: Any, packets: Iterable[Any]) -> Iterator[Any]:
    """Damage is an error; pictures are decoded by several threads, since nothing else waits for them."""
    decoder = strict(track, _THREADS if track.type == "video" else 1)
    at = None
    try:
        for packet in packets:
            at = packet.pts if packet.pts is not None else at
            yield from decoder.decode(packet)
        yield from decoder.decode(None)
    except av.FFmpegError as error:
        raise corrupt(track.type, None if at is None else at * track.time_base, error) from error


def _small(frames: Iterator[Any], plan: RenderPlan, cut: int | None) -> Iterator[Any]:
    """Upright pictures before the cut in the encode's size, each with a time of its own."""
    upright, scaler, encode = Upright(plan.filters, plan.time_base), VideoReformatter(), plan.encodes[0]

    def wanted() -> Iterator[Any]:
        last = None
        for frame in frames:
            last = frame.pts = frame.pts if last is None else max(frame.pts, last + 1)
            if cut is not None and last >= cut:
                break
            yield from upright.push(frame)
        yield from upright.flush()

    for frame in wanted():
        size = encode.width, encode.height
        picture = scaler.reformat(frame, *size, "yuv420p", interpolation=Interpolation.BILINEAR, threads=1)
        picture.pict_type, picture.time_base = PictureType.NONE, plan.time_base
        yield picture


def _heard(track: Any, packets: Sequence[Any], origin: Fraction, rate: int, until: Fraction) -> Iterator[Any]:
    """fltp stereo from the asset's zero up to a time in s."""

    def timed() -> Iterator[Any]:
        for frame in _decoded(track, packets):
            base = frame.time_base = frame.time_base or track.time_base
            if frame.pts is not None:
                frame.pts -= round(origin / base)
            yield frame

    frames = timed()
    first = next(frames, None)
    if first is not None:
        end = (("atrim", f"end_sample={round(until * rate)}"),)
        yield from through(_chained(first, frames), (*downmix(first, rate, 0), *end))


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
