"""HLS of encoded chunks: each rendition one fragmented MP4, addressed by byte ranges; packets are only copied."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av

from operators.media.hls_playlists import (
    Label,
    Picture,
    Sound,
    iframes_playlist,
    master_playlist,
    media_playlist,
    target_of,
    text_playlist,
)
from operators.media.hls_tracks import PREFIX, Rung, SoundTrack, Track, VideoTrack
from schemas.errors import AssetError

MASTER = f"{PREFIX}.m3u8"
# a copied source makes segments of at most so many times the wanted length
_LONGEST = 3


@dataclass(frozen=True)
class Text:
    """A WebVTT file, by the name that it will have beside the playlists."""

    name: str
    file: str
    label: Label


@dataclass(frozen=True)
class Job:
    """What a package is made of; times in s, the rate in pictures a second (its mean, where it varies).

    `borders` are where segments begin, in ticks of the rungs' clock; without any they are common key frames that lie
    at least `segment_s` apart.
    """

    rungs: tuple[Rung, ...]
    sounds: tuple[Track, ...] = ()
    texts: tuple[Text, ...] = ()
    rate: Fraction = Fraction(25)
    seconds: float = 0.0
    segment_s: float = 4.0
    borders: tuple[int, ...] = ()


@dataclass(frozen=True)
class Package:
    """The files made, by name: the master playlist, the others, and the media with their codecs.

    `longest` is that of the segments (s); `left_out` are rungs that could not be aligned.
    """

    master: str
    playlists: tuple[str, ...]
    media: dict[str, str]
    segments: int
    longest: float
    left_out: tuple[str, ...] = ()


def package(job: Job, folder: Path) -> Package:
    """Writes the ladder's files into `folder`; they refer to each other by name.

    All renditions' segments begin at the same pictures, which open closed groups; video, audio and subtitles share
    the asset's zero. Memory: some 60 bytes a picture. Errors: corrupt_media, no_media_stream, unsupported_type.
    """
    with ExitStack() as stack:
        videos = [found for rung in job.rungs if (found := _read(stack, rung, job.seconds))]
        kept, borders = _aligned(videos, job)
        clock = [border * kept[0].time_base for border in borders]
        shift = max(Fraction(0), -clock[0])
        pictures = [video.write(folder, borders, shift, job.rate) for video in kept]
        longest = max(piece.seconds for one in pictures for piece in one.media.segments)
        sounds = [SoundTrack(stack, track).write(folder, clock, longest, shift) for track in job.sounds]
    tracks: list[Picture | Sound] = [*pictures, *sounds]
    playlists = _playlists(pictures, sounds, job.texts)
    for name, text in playlists.items():
        (folder / name).write_text(text, "utf-8")
    return Package(
        master=MASTER,
        playlists=tuple(name for name in playlists if name != MASTER),
        media={one.media.file: one.codecs for one in tracks},
        segments=len(borders),
        longest=round(float(longest), 3),
        left_out=tuple(rung.name for rung in job.rungs if rung not in [video.rung for video in kept]),
    )


def _read(stack: ExitStack, rung: Rung, seconds: float) -> VideoTrack | None:
    """A rendition's times; None where they are unusable and it may be left out."""
    try:
        return VideoTrack(stack, rung, seconds)
    except (AssetError, av.FFmpegError):
        if not rung.may_go:
            raise
        return None


def _playlists(pictures: Sequence[Picture], sounds: Sequence[Sound], texts: Sequence[Text]) -> dict[str, str]:
    """The playlists by name."""
    tracks: list[Picture | Sound] = [*pictures, *sounds]
    target, seconds = target_of(one.media for one in tracks), max(one.media.seconds for one in tracks)
    labels = [(f"{PREFIX}-{text.name}", text.label) for text in texts]
    made = {MASTER: master_playlist(pictures, sounds, labels, target)}
    made |= {f"{one.name}.m3u8": media_playlist(one.media, target) for one in tracks}
    made |= {f"{one.name}-iframes.m3u8": iframes_playlist(one.media) for one in pictures}
    return made | {f"{PREFIX}-{text.name}.m3u8": text_playlist(text.file, seconds) for text in texts}


def _aligned(videos: Sequence[VideoTrack], job: Job) -> tuple[list[VideoTrack], list[int]]:
    """The renditions that can be cut at the same times, and these times (ticks)."""
    whole = [video for video in videos if not video.rung.may_go] or list(videos)
    base = whole[0].time_base
    for kept in ([v for v in videos if not v.hidden and v.time_base == base], whole):
        borders = _borders(kept, job)
        edges = [*borders, max(video.samples.end for video in kept)]
        steps = [(b - a) * base for a, b in pairwise(edges)]
        if borders and (kept == whole or max(steps) <= _LONGEST * job.segment_s):
            return kept, borders
    raise AssetError("corrupt_media", "the renditions do not begin with the same key frame")


def _borders(videos: Sequence[VideoTrack], job: Job) -> list[int]:
    """The first picture, then of those at which all can be cut the wanted ones, or some `segment_s` apart."""
    first = int(videos[0].samples.shown[0])
    if any(video.keys.get(first) != 0 for video in videos):
        return []
    common = sorted(set.intersection(*(set(video.keys) for video in videos)))
    if not job.borders:
        return _apart(common, job.segment_s / videos[0].time_base)
    origin = round(videos[0].rung.origin / videos[0].time_base)
    wanted = (bisect_left(common, border - origin) for border in job.borders)
    return sorted({first, *(common[place] for place in wanted if place < len(common))})


def _apart(keys: Sequence[int], step: float | Fraction) -> list[int]:
    """The first, and from each the next that is at least a step later."""
    found = [keys[0]]
    for key in keys:
        if key - found[-1] >= step:
            found.append(key)
    return found
