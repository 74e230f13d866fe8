"""Decoded audio in one form: 32-bit float stereo at one rate from the asset's zero, gaps made silent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from operators.media.source import audio_of, corrupt, only, opened, origin_of, packets_of, strict
from schemas.errors import AssetError

Filters = tuple[tuple[str, str], ...]
_BLOCK = 16_384
# Tags at the end of an MP3 may look like a damaged frame.
_TRAILING_JUNK = {"mp3": 2}
_NO_GAPS, _LARGEST_GAP_S = {"flac"}, Fraction(1, 100)
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


class Chain:
    """A row of audio filters. Input frames share a format; outputs are numbered on from 0 in samples."""

    def __init__(self, frame: Any, filters: Filters) -> None:
        self._graph = graph = av.filter.Graph()
        graph.threads = 1
        last = graph.add(
            "abuffer",
            sample_rate=str(frame.sample_rate),
            sample_fmt=frame.format.name,
            channel_layout=frame.layout.name,
            time_base=str(frame.time_base),
        )
        for name, arguments in filters:
            step = graph.add(name, arguments or None)
            last.link_to(step)
            last = step
        last.link_to(graph.add("abuffersink"))
        graph.configure()

    def push(self, frame: Any | None) -> Iterator[Any]:
        """Yields the frames that are ready; None flushes."""
        self._graph.push(frame)
        while True:
            try:
                yield self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return


def through(frames: Iterable[Any], filters: Filters) -> Iterator[Any]:
    """The frames after a row of filters."""
    chain = None
    for frame in frames:
        chain = chain or Chain(frame, filters)
        yield from chain.push(frame)
    if chain is not None:
        yield from chain.push(None)


def stereo(path: Path | str, rate: int, track: int = 0) -> Iterator[Any]:
    """An audio track (from 0) as fltp stereo at `rate` Hz; pts count samples from the asset's zero.

    Surround is mixed down by ITU-R BS.775 without normalising, so samples may exceed 1.0; mono goes to both
    channels at -3 dB. A track that begins after the video, or has gaps, gets silence there. Errors:
    no_media_stream, corrupt_media (with the time).
    """
    return _formed(path, track, lambda frame, first: downmix(frame, rate, first))


def downmix(frame: Any, rate: int, first: int) -> Filters:
    """Filters that make fltp stereo at `rate` Hz of frames like this one, from sample `first` on."""
    form = f"sample_fmts=fltp:channel_layouts=stereo:sample_rates={rate}"
    return (*_named(frame), *_timed(rate, first, form))


def separate(path: Path | str, track: int = 0) -> Iterator[Any]:
    """An audio track (from 0) with its own channels and rate as s32, interleaved; time and errors as `stereo`.

    (PyAV 18.1 counts a plane too many in planar frames of more than eight channels.)
    """
    form, rate = "", 0

    def steps(frame: Any, first: int) -> Filters:
        nonlocal form, rate
        rate = rate or frame.sample_rate
        form = form or f"sample_fmts=s32:channel_layouts={_quoted(frame.layout)}:sample_rates={rate}"
        return _timed(rate, first, form)

    return _formed(path, track, steps)


def _formed(path: Path | str, track: int, steps: Callable[[Any, int], Filters]) -> Iterator[Any]:
    """Sound after the filters that a frame and the number of samples before it ask for; its form may change."""
    written = 0
    chain: Chain | None = None
    shape = None
    for frame in decoded_sound(path, track):
        found = (frame.sample_rate, frame.format.name, frame.layout.name)
        if found != shape:
            if chain is not None:
                for out in chain.push(None):
                    written += out.samples
                    yield out
            chain, shape = Chain(frame, steps(frame, written)), found
        assert chain is not None
        for out in chain.push(frame):
            written += out.samples
            yield out
    if chain is None:
        raise AssetError("no_media_stream", "the audio track holds no sound")
    yield from chain.push(None)


def _timed(rate: int, first: int, form: str) -> Filters:
    return (
        ("aresample", f"{rate}:async=1:first_pts={first}"),
        ("aformat", form),
        ("asetnsamples", f"{_BLOCK}:p=0"),
    )


def _quoted(layout: Any) -> str:
    """A layout's name as a filter's argument; some have parentheses and spaces."""
    return f"'{layout.name}'"


def _named(frame: Any) -> Filters:
    """A layout for channels that have none: the usual one of their number, or only the first two."""
    count = frame.layout.nb_channels
    if "channels" not in frame.layout.name:
        return ()
    layout = _LAYOUTS.get(count, "stereo")
    used = count if count in _LAYOUTS else 2
    return (("pan", layout + "".join(f"|c{i}=c{i}" for i in range(used))),)


def decoded_sound(path: Path | str, track: int = 0) -> Iterator[Any]:
    """Frames of an audio track (from 0) as they are coded, pts from the asset's zero. Errors as `stereo`."""
    with opened(path) as container:
        stream = audio_of(container, track)
        if stream is None:
            raise AssetError("no_media_stream", f"no audio track {track + 1}")
        only(container, stream)
        strict(stream)
        origin = round(origin_of(container) / stream.time_base) * stream.time_base
        frames = _checked(packets_of(container, stream), stream)
        if container.format.name in _NO_GAPS:
            frames = _gapless(frames)
        ticks = None
        for frame in frames:
            if ticks is None:  # a decoder's frames share a clock
                ticks = round(origin / frame.time_base)
            if frame.pts is not None:
                frame.pts -= ticks
            yield frame


def _checked(packets: Iterator[Any], track: Any) -> Iterator[Any]:
    """Decodes; damage before the first sound (a cut recording) passes, any after it is an error."""
    begun, damage, failed, at = False, None, 0, None
    forgiven = _TRAILING_JUNK.get(track.codec_context.codec.canonical_name, 0)
    try:
        for packet in packets:
            at = packet.pts if packet.pts is not None else at
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                damage = damage or (_damaged(track, at, error) if begun else None)
                failed += damage is not None
                frames = []
            if damage and (frames or failed > forgiven):
                raise damage
            begun = begun or bool(frames)
            yield from frames
    except av.FFmpegError as error:
        raise _damaged(track, at, error) from error


def _damaged(track: Any, at: int | None, error: av.FFmpegError) -> AssetError:
    return corrupt("audio", None if at is None else at * track.time_base, error)


def _gapless(frames: Iterator[Any]) -> Iterator[Any]:
    """The frames of a format that knows no gaps: one tells of damage that its parser skipped."""
    end = None
    for frame in frames:
        at = None if frame.pts is None else frame.pts * frame.time_base
        if at is not None:
            if end is not None and at > end + _LARGEST_GAP_S:
                raise corrupt("audio", end, f"sound is missing until {float(at):.3f} s")
            end = at + Fraction(frame.samples, frame.sample_rate)
        yield frame
