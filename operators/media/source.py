"""Opening untrusted media: which formats, how errors become codes, where time begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

import av
from av.container import InputContainer
from av.stream import Discard, Disposition, Stream

from schemas.errors import AssetError

# Formats that name other files (playlists, image patterns) or hold no times (raw H.264) are left out.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,avi,flv,asf,ogg,mxf,ivf,"
    "dv,wav,w64,flac,mp3,aac,aiff,caf,amr,ac3,eac3,dts,ape,wv,tta,opus,au"
)
# WebM's alpha is a second picture beside each: these decode both, FFmpeg's own decoders the colour alone.
_LAYERED = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Packets of these have the times of their order in the file, not of their pictures.
UNORDERED = {"avi"}
# Times of these are made up as packets are read, those of a program stream between few true ones: a seek breaks them.
UNCUT = {"avi", "mpeg"}
# APIC's picture type 3 of ID3v2.4, which FLAC and Vorbis comments have taken over
_FRONT = "Cover (front)"
_COVER = Disposition.attached_pic | Disposition.timed_thumbnails

# An option for files of our own whose packets are copied: else a picture is decoded to learn what they are.
UNDECODED = {"codec_whitelist": "none"}

# what is read of a file without a path at once, in bytes
_READ_AT_ONCE = 2**17


@runtime_checkable
class Seekable(Protocol):
    """A file without a path: its size in bytes, and how it is opened; each opened one has its own position."""

    size: int

    def open(self) -> BinaryIO:
        """The file at its start."""


Media = Path | str | Seekable


def size_of(media: Media) -> int:
    """The file's size in bytes."""
    return media.size if isinstance(media, Seekable) else Path(media).stat().st_size


def read_from(media: Media) -> BinaryIO:
    """The file, opened to be read."""
    return media.open() if isinstance(media, Seekable) else Path(media).open("rb")


@contextmanager
def opened(path: Media, **options: str) -> Iterator[InputContainer]:
    """The container at `path`; missing pts are made from dts. Errors: empty_file, unreadable_header."""
    if not size_of(path):
        raise AssetError("empty_file", "0 bytes")
    asked = {
        "fflags": "+genpts",
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file",
        **options,
    }
    file: Any = path.open() if isinstance(path, Seekable) else f"file:{path}"
    try:
        container = av.open(file, "r", options=asked, metadata_errors="replace", buffer_size=_READ_AT_ONCE)
    except (av.FFmpegError, ValueError) as error:
        raise AssetError("unreadable_header", _reason(error)) from error
    with container:
        yield container


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or type(error).__name__)


def video_of(container: InputContainer) -> Any | None:
    """The first video stream that is not cover art, or None."""
    return next((s for s in container.streams.video if not s.disposition & _COVER), None)


def rate_of(video: Any) -> Fraction | None:
    """Pictures a second, None where unknown. Where DV's demuxer leaves that of the clock's ticks, what they show."""
    average: Fraction | None = video.average_rate
    guessed: Fraction | None = video.guessed_rate
    return guessed if not average or average * video.time_base == 1 else average


def cover_of(container: InputContainer) -> Any | None:
    """The stream of the front cover, else of the first attached picture, or None."""
    pictures = [s for s in container.streams.video if s.disposition & Disposition.attached_pic]
    front = (s for s in pictures if s.metadata.get("comment") == _FRONT)
    return next(front, next(iter(pictures), None))


def sounds_of(container: InputContainer) -> list[Any]:
    """The audio streams that have a decoder, in the file's order."""
    return [s for s in container.streams.audio if s.codec_context]


def audio_of(container: InputContainer, track: int = 0) -> Any | None:
    """The audio stream of this number, from 0, or None."""
    return next(iter(sounds_of(container)[track:]), None)


def only(container: InputContainer, *kept: Stream) -> None:
    """Reads no stream but these: `demux(stream)` alone would still read them all."""
    for stream in container.streams:
        stream.discard = Discard.default if any(stream is one for one in kept) else Discard.all


def packets_of(container: InputContainer, stream: Any) -> Iterator[Any]:
    """A stream's packets, the last one empty to flush the decoder.

    An empty packet with a time (Theora: show the last picture again) is left out: it would flush too early.
    """
    return (packet for packet in container.demux(stream) if packet.size or packet.pts is None)


def origin_of(container: InputContainer) -> Fraction:
    """The asset's time zero in seconds on the container's clock: where its first video or audio begins."""
    streams = [s for s in (video_of(container), audio_of(container)) if s is not None]
    starts = [s.start_time * s.time_base for s in streams if s.start_time is not None and s.time_base]
    return min(starts, default=Fraction(0))


def strict(stream: Any, threads: int = 1) -> Any:
    """The stream's decoder: damage is an error, else concealed and shown as if it were sound.

    One that has decoded before is ready for the first packet again.
    """
    context = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and context.codec.canonical_name in _LAYERED:
        context = av.CodecContext.create(_LAYERED[context.codec.canonical_name], "r")
    if context.is_open:
        context.flush_buffers()
        return context
    context.options = {"err_detect": "explode"}
    context.thread_type, context.thread_count = "FRAME", threads
    return context


def corrupt(kind: str, at: Fraction | float | None, error: BaseException | str) -> AssetError:
    """`corrupt_media` that tells the stream and the time (s)."""
    reason = error if isinstance(error, str) else _reason(error)
    where = "an unknown time" if at is None else f"{float(at):.3f} s"
    return AssetError("corrupt_media", f"{kind} at {where}: {reason}")
