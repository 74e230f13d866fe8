"""Pipelines: named sets of parameters that say what is made from an asset. Part of every result id."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.base import Model
from schemas.ids import digest

Codec = Literal["h264", "hevc", "av1"]


class VideoEncode(Model):
    """One H.264 rendition; `height` in pixels (never upscaled), `gop_s` seconds between key frames."""

    height: int
    crf: int
    gop_s: float
    preset: str = "veryfast"


class Rung(Model):
    """A further rendition for adaptive streaming; `height` in pixels is that of the shorter side, never upscaled.

    `crf` is a number on the codec's own scale, H.264 and HEVC 0..51, AV1 0..63; `bit_depth` 10 is for HEVC and AV1.
    `bit_rate` is what a trial expects (bit/s): such rungs may stand beside others of their size.
    """

    height: int = Field(gt=0)
    crf: int = Field(ge=0, le=63)
    codec: Codec = "h264"
    bit_depth: Literal[8, 10] = 8
    gop_s: float = Field(default=2.0, gt=0)
    preset: str = ""
    bit_rate: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.codec == "h264" and self.bit_depth != 8:
            raise ValueError("an H.264 rung has 8 bits: players have no decoder for more")
        return self


class ByContent(Model):
    """How further H.264 rungs are chosen from a trial, by XPSNR (dB) of pictures as large as the mezzanine.

    `heights` are tried beside the mezzanine's. Each rung has at most 1/`ratio` of the bit/s of the one above it, no
    less than `floor_db`, and `gain_db` more than the one below; there are at most `most`.
    """

    heights: tuple[int, ...] = (1080, 720, 540, 432, 360, 240)
    ratio: float = Field(default=1.8, gt=1)
    floor_db: float = 28.0
    gain_db: float = 0.8
    most: int = Field(default=6, ge=0)


class VideoParams(Model):
    """Mezzanine and preview stream, and what else is encoded.

    `ladder` are further rungs, each dropped where another of its codec is as large; `by_content` adds rungs after a
    trial. `hdr_encode` is made where the source is HDR, and `hdr` set. `chunk_s` is the length of an encoded chunk (s),
    less at the end; with Kafka, the chunks of a video longer than `spread_s` are rendered by all processes of the flow
    `chunks`. With `hls` all renditions are packaged for adaptive streaming, in segments of `segment_s` (s) or a
    little more, cut at the same pictures.
    """

    mezzanine: VideoEncode = VideoEncode(height=1080, crf=21, gop_s=2.0)
    preview: VideoEncode = VideoEncode(height=360, crf=26, gop_s=1.0)
    ladder: tuple[Rung, ...] = ()
    by_content: ByContent | None = None
    hdr: bool = True
    hdr_encode: Rung = Rung(height=1080, crf=22, codec="hevc", bit_depth=10)
    chunk_s: float = Field(default=10.0, gt=0)
    spread_s: float = Field(default=60.0, ge=0)
    segment_s: float = Field(default=4.0, gt=0)
    hls: bool = True

    @model_validator(mode="after")
    def _deep(self) -> Self:
        if self.hdr_encode.bit_depth != 10:
            raise ValueError("an HDR rendition has 10 bits: fewer show bands")
        return self


class LoudnessParams(Model):
    """EBU R128 target: integrated LUFS, true-peak ceiling in dBTP, tolerance in LU."""

    target_lufs: float = Field(default=-14.0, ge=-40, le=-5)
    peak_dbtp: float = Field(default=-1.5, ge=-12, le=0)
    tolerance_lu: float = Field(default=0.3, gt=0)


class AudioParams(Model):
    """Delivered AAC (bit/s) and its preview, Opus (bit/s), FLAC, and the mono track for speech models (Hz).

    `opus`, `flac` and `channels` (each channel of surround sound as a file) say what is made of audio assets;
    `of_video`, whether it is made of a video's sound as well. Of a file's further audio tracks the first
    `more_tracks` are delivered too, as AAC.
    """

    loudness: LoudnessParams = LoudnessParams()
    bit_rate: int = 160_000
    preview_bit_rate: int = 96_000
    opus: bool = True
    opus_bit_rate: int = Field(default=128_000, ge=6_000, le=510_000)
    flac: bool = True
    channels: bool = True
    of_video: bool = False
    sample_rate: int = 48_000
    speech_rate: int = 16_000
    more_tracks: int = Field(default=7, ge=0)


class ClipParams(Model):
    """The H.264 clip of an animated picture: the most pixels of its shorter side, and x264's constant rate factor."""

    height: int = Field(default=1080, ge=2)
    crf: int = Field(default=21, ge=0, le=51)
    preset: str = "veryfast"


class ImageParams(Model):
    """WebP renditions: widths in pixels (never upscaled) and quality 0..100.

    `wide_quality` is that of the AVIF rendition which keeps a wide gamut, `pages` how many pages of a TIFF are drawn,
    in the widest width.
    """

    widths: tuple[int, ...] = (1440, 720, 250)
    quality: int = Field(default=80, ge=1, le=100)
    wide_quality: int = Field(default=75, ge=1, le=100)
    pages: int = Field(default=50, ge=1)
    clip: ClipParams = ClipParams()


class DocumentParams(Model):
    """Page pictures: width in pixels, and how many pages are drawn; `office` lets LibreOffice make PDFs."""

    page_width: int = 1240
    max_pictures: int = 50
    quality: int = Field(default=80, ge=1, le=100)
    office: bool = True


class TemplateParams(Model):
    """A template's poster and demo clip: most height (px), most length (s) and frame rate, x264's constant rate."""

    height: int = Field(default=360, ge=16)
    clip_s: float = Field(default=8.0, gt=0)
    most_rate: float = Field(default=30.0, gt=0)
    crf: int = 23
    quality: int = Field(default=80, ge=1, le=100)


class PreviewParams(Model):
    """Storyboard tiles (interval s, tile width px, columns, most tiles), and pictures to choose from.

    Candidates for poster and stills are looked at every `candidate_every_s` seconds, less often where that were more
    than `candidate_most`. Stills (squares of `still_size` px, for search) are the best of each shot, in a shot longer
    than `still_every_s` seconds of each such part, `still_most` at most.
    """

    storyboard_every_s: float = Field(default=1.0, gt=0)
    storyboard_width: int = Field(default=160, ge=16)
    storyboard_columns: int = Field(default=10, ge=1)
    storyboard_most: int = Field(default=100, ge=1)
    candidate_every_s: float = Field(default=0.5, gt=0)
    candidate_most: int = Field(default=2400, ge=1)
    still_every_s: float = Field(default=2.0, gt=0)
    still_size: int = Field(default=224, ge=16)
    still_most: int = Field(default=300, ge=1)
    waveform_samples_per_pixel: int = 256


class Limits(Model):
    """The most that is accepted: bytes by kind and of a sidecar, pixels of a picture, seconds of media, pages."""

    video_bytes: int = 20 * 2**30
    audio_bytes: int = 2 * 2**30
    image_bytes: int = 256 * 2**20
    document_bytes: int = 256 * 2**20
    template_bytes: int = 64 * 2**20
    sidecar_bytes: int = 16 * 2**20
    pixels: int = 200_000_000
    seconds: float = 12 * 3600
    pages: int = 2000

    def bytes_of(self, kind: str) -> int:
        """The most bytes of an asset of this kind."""
        return int(getattr(self, f"{kind}_bytes"))


class Pipeline(Model):
    """What is made from an asset, kept and published. `profile` picks the models in the routing table."""

    name: str = "default"
    limits: Limits = Limits()
    video: VideoParams = VideoParams()
    audio: AudioParams = AudioParams()
    image: ImageParams = ImageParams()
    document: DocumentParams = DocumentParams()
    template: TemplateParams = TemplateParams()
    preview: PreviewParams = PreviewParams()
    profile: str = "lite"
    original: Literal["kept", "archived", "dropped"] = "kept"
    channels: tuple[str, ...] = ("folder",)

    @property
    def fingerprint(self) -> str:
        """Changes whenever any parameter does."""
        return digest(self)[:16]
