"""What an asset is, technically. Names of colours are those of ITU-T H.273."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Model

Cadence = Literal["constant", "variable", "unknown"]
Unit = Literal["page", "slide", "sheet", "chapter"]
Hdr = Literal["none", "pq", "hlg"]


class Mastering(Model):
    """The display on which HDR was mastered (SMPTE ST 2086), and the light of the content (CTA-861.3), in cd/m2.

    `primaries` are x and y of red, green, blue and white; what the source does not tell is None.
    """

    primaries: tuple[float, ...] | None = None
    min_nits: float | None = None
    max_nits: float | None = None
    max_cll: int | None = None
    max_fall: int | None = None


class VideoTrack(Model):
    """The first real video track. `width` and `height` are stored pixels, before rotation and pixel aspect.

    `rotation` is how far clockwise (degrees) the stored picture is turned to stand upright, after `mirrored`
    (left and right exchanged). `pixel_aspect` and `frame_rate` are fractions, such as "30000/1001".
    """

    codec: str
    profile: str | None = None
    level: int | None = None
    pixel_format: str | None = None
    bit_depth: int | None = None
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    rotation: Literal[0, 90, 180, 270] = 0
    mirrored: bool = False
    pixel_aspect: str = "1/1"
    frame_rate: str | None = None
    cadence: Cadence = "unknown"
    bit_rate: int | None = None
    primaries: str = "unspecified"
    transfer: str = "unspecified"
    matrix: str = "unspecified"
    range: Literal["limited", "full", "unspecified"] = "unspecified"
    hdr: Hdr = "none"
    mastering: Mastering | None = None
    interlaced: bool = False
    alpha: bool = False


class AudioTrack(Model):
    """An audio track; `sample_rate` in Hz, `bit_rate` in bit/s, `default` as the container marks it."""

    codec: str
    profile: str | None = None
    channels: int = Field(gt=0)
    layout: str
    sample_rate: int = Field(gt=0)
    bit_rate: int | None = None
    language: str | None = None
    title: str | None = None
    default: bool = False


class SubtitleTrack(Model):
    """A subtitle track; `language` as the container names it (ISO 639-2), `forced` for foreign speech alone."""

    codec: str
    language: str | None = None
    title: str | None = None
    default: bool = False
    forced: bool = False


class Chapter(Model):
    """A chapter of a video or sound, from `start` to `end` in s from the asset's zero; `title` may be empty."""

    start: float = Field(ge=0)
    end: float = Field(ge=0)
    title: str = ""


class Picture(Model):
    """An image: pixels as stored, EXIF `orientation` 1..8, bits a channel, a TIFF's pages.

    The integrity step counts an animation's frames, which are 1 here. `wide_gamut` has colours that sRGB lacks; of a
    picture with a `gain_map` the base is used.
    """

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    orientation: int = Field(default=1, ge=1, le=8)
    mode: str | None = None
    bit_depth: int | None = None
    alpha: bool = False
    colour_profile: str | None = None
    animated: bool = False
    frames: int = 1
    pages: int = 1
    wide_gamut: bool = False
    gain_map: bool = False


class Document(Model):
    """A paged document; `version` of its format, sizes in points (1/72 inch) of the first page.

    `unit` is what its pages are, `hidden` how many are not shown; macros are told of and never run.
    """

    pages: int
    unit: Unit = "page"
    hidden: int = 0
    macros: bool = False
    version: str | None = None
    encrypted: bool = False
    title: str | None = None
    author: str | None = None
    description: str | None = None
    keywords: tuple[str, ...] = ()
    language: str | None = None
    width: float | None = None
    height: float | None = None


class Template(Model):
    """A template or effect: `format` is lottie, dotlottie, cube or manifest; its size in pixels, `duration` in s.

    `lut` is a look-up table's points a side and `dimensions` 1 or 3; `engine` the program that a manifest's is for.
    """

    format: Literal["lottie", "dotlottie", "cube", "manifest"]
    name: str | None = None
    description: str | None = None
    keywords: tuple[str, ...] = ()
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    frame_rate: float | None = None
    duration: float | None = None
    dimensions: Literal[1, 3] | None = None
    lut: int | None = None
    kind: str | None = None
    engine: str | None = None
    version: str | None = None
    parameters: tuple[str, ...] = ()


class Technical(Model):
    """Technical metadata of an asset. `duration` in s, `bit_rate` in bit/s; `tags` as the file has them.

    `timecode` is that of the first picture, HH:MM:SS:FF, with ; before FF where frames are dropped (SMPTE ST 12-1).
    `cover` says whether there is cover art.
    """

    kind: Literal["video", "audio", "image", "document", "template"]
    container: str
    size: int
    duration: float | None = None
    bit_rate: int | None = None
    video: VideoTrack | None = None
    audio: tuple[AudioTrack, ...] = ()
    subtitles: tuple[SubtitleTrack, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    cover: bool = False
    image: Picture | None = None
    document: Document | None = None
    timecode: str | None = None
    template: Template | None = None
    tags: dict[str, str] = Field(default_factory=dict)
