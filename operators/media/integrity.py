"""Whether audio and video can be decoded to their end: all sound, and the key frames of the pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from operators.media.boxes import require_whole
from operators.media.sound import decoded_sound
from operators.media.source import corrupt, only, opened, origin_of, packets_of, sounds_of, strict, video_of
from schemas.errors import AssetError

_SLACK_S, _SLACK = 1.0, 0.02


@dataclass(frozen=True)
class MediaCheck:
    """What was decoded: sounds in s, key frames and all pictures by number, and the end of the video in s."""

    audio_seconds: float
    key_frames: int
    pictures: int
    video_seconds: float


def check_media(path: Path | str) -> MediaCheck:
    """Decodes all audio tracks and the key frames of the first video track.

    Errors: empty_file, unreadable_header, no_media_stream, no_key_frame; truncated where a track ends long
    before the header says; corrupt_media with the number of damaged places and the time of the first.
    """
    require_whole(path)
    with opened(path) as container:
        video, sounds = video_of(container) is not None, len(sounds_of(container))
        promised = 0.0 if container.duration is None else container.duration / av.time_base
        begin = max(0.0, float(origin_of(container)))
    if not video and not sounds:
        raise AssetError("no_media_stream", "no audio or video track")
    keys, pictures, shown = _check_video(path) if video else (0, 0, 0.0)
    heard = max((_check_audio(path, track) for track in range(sounds)), default=0.0)
    reached = begin + max(heard, shown)  # some formats promise a duration, some the time of the end
    if promised - reached > max(_SLACK_S, promised * _SLACK):
        raise AssetError("truncated", f"the content ends at {reached:.3f} s of {promised:.3f} s")
    return MediaCheck(heard, keys, pictures, shown)


def _check_audio(path: Path | str, track: int) -> float:
    """Seconds from the asset's zero to the end of a track's sound."""
    end = 0.0
    for frame in decoded_sound(path, track):
        start = end if frame.pts is None else float(frame.pts * frame.time_base)
        end = max(end, start + frame.samples / frame.sample_rate)
    return end


def _check_video(path: Path | str) -> tuple[int, int, float]:
    """Key frames, pictures, and the end of the video in s from the asset's zero."""
    with opened(path) as container:
        video = video_of(container)
        assert video is not None
        only(container, video)
        strict(video)
        video.codec_context.skip_frame = "NONKEY"
        damaged: list[AssetError] = []
        keys = pictures = 0
        end = origin = origin_of(container)
        for packet in _packets(container, video):
            if packet.size and not packet.is_discard:
                pictures += 1
                end = max(end, _end_of(packet, end))
            keys += _decoded(packet, damaged)
    if damaged:
        raise AssetError("corrupt_media", f"{damaged[0].detail}; {len(damaged)} damaged places")
    if not keys:
        raise AssetError("no_key_frame", f"none of {pictures} pictures is a key frame that can be decoded")
    return keys, pictures, float(end - origin)


def _packets(container: Any, video: Any) -> Iterator[Any]:
    at = None
    try:
        for packet in packets_of(container, video):
            at = packet.pts if packet.pts is not None else at
            yield packet
    except av.FFmpegError as error:
        raise corrupt("video", None if at is None else at * video.time_base, error) from error


def _end_of(packet: Any, otherwise: Fraction) -> Fraction:
    if packet.pts is None:
        return otherwise
    return Fraction((packet.pts + (packet.duration or 0)) * packet.time_base)


def _decoded(packet: Any, damaged: list[AssetError]) -> int:
    """Frames that a packet gave; damage is noted."""
    try:
        return len(packet.decode())
    except av.FFmpegError as error:
        damaged.append(corrupt("video", None if packet.pts is None else packet.pts * packet.time_base, error))
        return 0
