"""Technical metadata from a file's header and first pictures, whatever its length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Literal

import av
from av.container import InputContainer
from av.stream import Disposition

from operators.media import h273
from operators.media.boxes import require_whole
from operators.media.chapters import chapters_of
from operators.media.geometry import orientation
from operators.media.mastering import mastering_of
from operators.media.source import (
    Media,
    cover_of,
    only,
    opened,
    packets_of,
    rate_of,
    size_of,
    sounds_of,
    strict,
    video_of,
)
from schemas.errors import AssetError
from schemas.pipelines import Limits, VideoParams
from schemas.technical import AudioTrack, Cadence, SubtitleTrack, Technical, VideoTrack

_PACKETS = 120
_LONGEST = 4000
_INTERLACED = {2, 3, 4, 5}
_WEB_CONTAINERS = {"mp4", "mov", "m4a"}
_WEB_PROFILES = {"Constrained Baseline", "Baseline", "Main", "High", "Constrained High", "Progressive High"}
_NO_TAGS = {"major_brand", "minor_version", "compatible_brands", "handler_name", "vendor_id", "duration"}


def quick_probe(path: Media, kind: Literal["video", "audio"], limits: Limits) -> Technical:
    """Container, tracks and tags; of the pictures only the first is decoded.

    The result's `kind` is what the file holds: an MP4 with sound and at most cover art is audio. Errors:
    empty_file, unreadable_header, truncated, no_media_stream, no_key_frame, too_long, too_many_pixels.
    """
    require_whole(path)
    with opened(path) as container:
        return probed(path, container, kind, limits)


def probed(
    path: Media,
    container: InputContainer,
    kind: Literal["video", "audio"],
    limits: Limits,
    pictures: Sequence[Any] | None = None,
    threads: int = 1,
) -> Technical:
    """`quick_probe` of a container that is open; `pictures` are its video's first packets if they were read already."""
    video, sounds = video_of(container), sounds_of(container)
    if not sounds and (video is None or kind == "audio"):
        raise AssetError("no_media_stream", f"{len(container.streams)} streams, none of them {kind}")
    _check_length(container, limits)
    _check_end(path, container)
    return Technical(
        kind="audio" if video is None else "video",
        container=container.format.name,
        size=size_of(path),
        duration=_seconds(container),
        bit_rate=container.bit_rate or None,
        audio=tuple(_audio_track(s) for s in sounds),
        subtitles=tuple(_subtitle_track(s) for s in container.streams.subtitles),
        timecode=_timecode(container),
        chapters=chapters_of(container),
        cover=cover_of(container) is not None,
        tags=_tags(container),
        video=None if video is None else _video_track(path, container, video, limits, pictures, threads),
    )


def web_friendly(technical: Technical, params: VideoParams) -> bool:
    """Whether the file's own packets serve as the mezzanine: MP4, H.264 High and AAC-LC, upright, no HDR."""
    video, names = technical.video, set(technical.container.split(","))
    if video is None or not names & _WEB_CONTAINERS:
        return False
    picture = (
        video.codec == "h264"
        and video.profile in _WEB_PROFILES
        and video.pixel_format == "yuv420p"
        and min(video.width, video.height) <= params.mezzanine.height
        and video.pixel_aspect == "1/1"
        and h273.is_plain(video.primaries, video.transfer, video.matrix)
        and not (video.interlaced or video.rotation or video.mirrored)
    )
    return picture and all(_web_sound(track) for track in technical.audio[:1])


def _web_sound(track: AudioTrack) -> bool:
    return track.codec == "aac" and track.profile == "LC" and track.channels <= 2


def _seconds(container: InputContainer) -> float | None:
    return None if container.duration is None else container.duration / av.time_base


def _check_length(container: InputContainer, limits: Limits) -> None:
    seconds = _seconds(container) or 0.0
    if seconds > limits.seconds:
        raise AssetError("too_long", f"{seconds:.0f} s, the limit is {limits.seconds:.0f} s")


def _check_end(path: Media, container: InputContainer) -> None:
    """An index whose last sample lies past the end tells of a cut that the outermost boxes may hide."""
    size = size_of(path)
    for stream in container.streams:
        count = len(stream.index_entries)
        if count and (last := stream.index_entries[count - 1]).pos + last.size > size:
            raise AssetError("truncated", f"a sample ends at byte {last.pos + last.size}, the file has {size}")


def _first_picture(
    path: Media, container: InputContainer, video: Any, pictures: Iterable[Any] | None, threads: int
) -> Any:
    """The first picture, decoded. An edit list may hide many before it: then it is read without the list."""
    frame = _decode_first(_packets(container, video) if pictures is None else pictures, strict(video, threads))
    if frame is None:
        with opened(path, ignore_editlist="1") as whole:
            track = video_of(whole)
            frame = _decode_first(_packets(whole, track), strict(track))
    if frame is None:
        raise AssetError("no_key_frame", "the first picture cannot be decoded")
    return frame


def _packets(container: InputContainer, video: Any) -> Iterator[Any]:
    only(container, video)
    return packets_of(container, video)


def _decode_first(packets: Iterable[Any], decoder: Any) -> Any | None:
    key = None
    try:
        for count, packet in enumerate(packets):
            if key is None and packet.size:
                key = _require_key(packet)
            if frames := _decoded(decoder, packet, key):
                return frames[0]
            if count > _PACKETS:
                return None
    except av.FFmpegError as error:
        raise AssetError("no_key_frame", f"the first picture cannot be decoded: {error.strerror}") from error
    return None


def _require_key(packet: Any) -> Any:
    if not packet.is_keyframe:
        raise AssetError("no_key_frame", "the first packet does not hold a key frame")
    return packet


def _decoded(decoder: Any, packet: Any, key: Any) -> list[Any]:
    """Frames of a packet; pictures shown before the first key frame may lack what they refer to."""
    try:
        return list(decoder.decode(packet if packet.size else None))
    except av.FFmpegError:
        if key is None or packet.pts is None or key.pts is None or packet.pts >= key.pts:
            raise
        return []


def _video_track(
    path: Media, container: InputContainer, video: Any, limits: Limits, pictures: Iterable[Any] | None, threads: int
) -> VideoTrack:
    context = video.codec_context
    if context.width * context.height > limits.pixels:
        raise AssetError("too_many_pixels", f"{context.width} x {context.height}, the limit is {limits.pixels}")
    if not context.width or not context.height:
        raise AssetError("unreadable_header", "the video's size is unknown")
    frame = _first_picture(path, container, video, pictures, threads)
    rotation, mirrored = orientation(frame)
    transfer = h273.TRANSFER.get(context.color_trc, "unspecified")
    return VideoTrack(
        codec=_codec(video),
        profile=context.profile,
        level=context.level if context.level > 0 else None,
        pixel_format=frame.format.name,
        bit_depth=max(c.bits for c in frame.format.components),
        width=frame.width,
        height=frame.height,
        rotation=rotation,
        mirrored=mirrored,
        pixel_aspect=_fraction(video.sample_aspect_ratio) or "1/1",
        frame_rate=_fraction(rate_of(video)),
        cadence=_cadence(container, video),
        bit_rate=video.bit_rate or None,
        primaries=h273.PRIMARIES.get(context.color_primaries, "unspecified"),
        transfer=transfer,
        matrix=h273.MATRIX.get(context.colorspace, "unspecified"),
        range=h273.RANGE.get(context.color_range, "unspecified"),
        hdr=h273.HDR.get(transfer, "none"),
        mastering=mastering_of(frame),
        interlaced=bool(frame.interlaced_frame) or context.field_order in _INTERLACED,
        alpha=any(component.is_alpha for component in frame.format.components),
    )


def _cadence(container: InputContainer, video: Any) -> Cadence:
    """From the header alone: an MP4's mean rate counts every picture; fields may double the other."""
    mean, base = video.average_rate, video.base_rate
    if not mean or not base or "mp4" not in container.format.name:
        return "unknown"
    if abs(mean / base - 1) < Fraction(1, 1000):
        return "constant"
    return "unknown" if abs(base / mean - 2) < Fraction(1, 1000) else "variable"


def _audio_track(stream: Any) -> AudioTrack:
    context = stream.codec_context
    if not context.channels or not context.sample_rate:
        raise AssetError("unreadable_header", "the audio's channels or sample rate are unknown")
    return AudioTrack(
        codec=_codec(stream),
        profile=context.profile,
        channels=context.channels,
        layout=context.layout.name,
        sample_rate=context.sample_rate,
        bit_rate=stream.bit_rate or None,
        language=_language(stream),
        title=_title(stream),
        default=bool(stream.disposition & Disposition.default),
    )


def _subtitle_track(stream: Any) -> SubtitleTrack:
    return SubtitleTrack(
        codec=_codec(stream) if stream.codec_context else "unknown",
        language=_language(stream),
        title=_title(stream),
        default=bool(stream.disposition & Disposition.default),
        forced=bool(stream.disposition & Disposition.forced),
    )


def _codec(stream: Any) -> str:
    """The coding's name, not the decoder's (av1, not libdav1d)."""
    return str(stream.codec_context.codec.canonical_name)


def _language(stream: Any) -> str | None:
    language = stream.metadata.get("language")
    return None if language in (None, "und") else language


def _title(stream: Any) -> str | None:
    """A track's title; MP4 has it as the handler's name, which most writers fill with their own."""
    return stream.metadata.get("title") or None


def _timecode(container: InputContainer) -> str | None:
    """The first picture's time code: a tag of the container, of the video or of a track of time codes."""
    found = (one.metadata.get("timecode") for one in (*container.streams, container))
    return next((code for code in found if code), None)


def _fraction(value: Fraction | None) -> str | None:
    return f"{value.numerator}/{value.denominator}" if value else None


def _tags(container: InputContainer) -> dict[str, str]:
    """Tags of the container by name, and of its streams as `video.0.title`; long values are cut."""
    tags = dict(_kept(container.metadata))
    for stream in container.streams:
        tags |= {f"{stream.type}.{stream.index}.{key}": value for key, value in _kept(stream.metadata)}
    return tags


def _kept(metadata: dict[str, str]) -> list[tuple[str, str]]:
    pairs = ((key.lower(), value[:_LONGEST]) for key, value in metadata.items())
    return [(key, value) for key, value in pairs if key not in _NO_TAGS and value.strip()]
