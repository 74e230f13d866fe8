"""Templates and effects of every format by their media type: looked at, checked, and shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from operators.media import lottie, lut, source, template
from operators.media.clips import Pixels, even, write_clip
from operators.media.image import opened
from operators.media.integrity import check_media
from operators.media.probe import quick_probe
from operators.media.thumb import thumb_hash
from operators.media.types import CUBE, DOTLOTTIE, LOTTIE
from operators.media.webp import MadeFile, save_webp
from schemas.errors import AssetError
from schemas.pipelines import Limits, TemplateParams
from schemas.technical import Template

_WIPE_S, _WIPE_RATE = 4, Fraction(25)


@dataclass(frozen=True)
class RenderedTemplate:
    """The files made (roles `poster` and, if it moves, `preview`), and the poster's ThumbHash in base64."""

    files: tuple[MadeFile, ...]
    thumbhash: str


def quick_template(path: Path, media_type: str, limits: Limits) -> Template:
    """What it is. Raises corrupt_template, unsafe_template, too_many_pixels, too_long, truncated, unpacks_too_large."""
    if media_type in (LOTTIE, DOTLOTTIE):
        return lottie.read_lottie(path, media_type == DOTLOTTIE, limits).facts
    return lut.quick_cube(path) if media_type == CUBE else template.read_template(path)


def check_template(path: Path, media_type: str, limits: Limits) -> int:
    """Draws a first frame, or compares every file with its digest; how many frames, points or files there are."""
    if media_type in (LOTTIE, DOTLOTTIE):
        animation = lottie.read_lottie(path, media_type == DOTLOTTIE, limits)
        next(lottie.drawn(animation, (16, 16), 0.0, 1.0)[1])
        return animation.facts.frames or 0
    return len(lut.read_cube(path).rows) if media_type == CUBE else template.check_template(path)


def render_template(
    path: Path, out_dir: Path, media_type: str, params: TemplateParams, limits: Limits
) -> RenderedTemplate:
    """Writes `poster.webp` and, where it moves, `clip.mp4`.

    Of an animation its middle frame and its first seconds; of a look-up table a picture before and after; else the
    previews that it carries. Raises as `quick_template` does, and what pictures and clips raise.
    """
    if media_type in (LOTTIE, DOTLOTTIE):
        return _animated(lottie.read_lottie(path, media_type == DOTLOTTIE, limits), out_dir, params)
    if media_type == CUBE:
        return _graded(lut.read_cube(path), out_dir, params)
    return _carried(path, out_dir, params, limits)


def _animated(animation: lottie.Lottie, out_dir: Path, params: TemplateParams) -> RenderedTemplate:
    facts = animation.facts
    assert facts.width and facts.height
    size = even(facts.width, facts.height, params.height)
    rate, frames = lottie.drawn(animation, size, params.clip_s, params.most_rate)
    kept = dict[str, Pixels]()
    middle = round(min(params.clip_s, facts.duration or 0) * rate) // 2
    clip = write_clip(_keeping(frames, middle, kept), size, rate, params.crf, out_dir / "clip.mp4")
    return _made(Image.fromarray(kept["poster"]), out_dir, params, clip)


def _keeping(frames: Iterable[Pixels], number: int, kept: dict[str, Pixels]) -> Iterator[Pixels]:
    """The same frames; that of the number, or else the last before it, is kept."""
    for n, pixels in enumerate(frames):
        if n <= number:
            kept["poster"] = pixels
        yield pixels


def _graded(table: lut.Lut, out_dir: Path, params: TemplateParams) -> RenderedTemplate:
    before = lut.reference()
    after = lut.applied(table, before, out_dir)
    height, width = before.shape[:2]
    times = np.linspace(0, 2 * np.pi, _WIPE_S * int(_WIPE_RATE), endpoint=False)
    frames = (lut.beside(before, after, float(0.5 + 0.5 * np.cos(t))) for t in times)
    clip = write_clip(frames, (width, height), _WIPE_RATE, params.crf, out_dir / "clip.mp4")
    return _made(Image.fromarray(lut.beside(before, after, 0.5)), out_dir, params, clip)


def _carried(path: Path, out_dir: Path, params: TemplateParams, limits: Limits) -> RenderedTemplate:
    picture_path, clip_path = template.previews(path, out_dir)
    with opened(picture_path, limits) as image:
        image.load()
        rgba = image.convert("RGBA")
    picture = Image.new("RGB", rgba.size, "white")
    picture.paste(rgba, mask=rgba.getchannel("A"))
    picture.thumbnail((4 * params.height, params.height), Image.Resampling.LANCZOS)
    return _made(picture, out_dir, params, _again(clip_path, out_dir, params, limits) if clip_path else None)


def _again(path: Path, out_dir: Path, params: TemplateParams, limits: Limits) -> MadeFile:
    """The carried clip checked and encoded anew, without sound, so that nothing of it is handed on as it came."""
    technical = quick_probe(path, "video", limits)
    if technical.video is None:
        raise AssetError("corrupt_template", "its clip has no pictures")
    check_media(path)
    rate = Fraction(technical.video.frame_rate or "25")
    with source.opened(path) as container:
        video = source.video_of(container)
        frames: Iterator[Any] = container.decode(video)
        first = next(frames)
        size = even(first.width, first.height, params.height)
        wanted = islice(chain([first], frames), max(1, round(params.clip_s * rate)))
        pixels = (frame.reformat(*size, format="rgb24").to_ndarray() for frame in wanted)
        return write_clip(pixels, size, rate, params.crf, out_dir / "clip.mp4")


def _made(picture: Image.Image, out_dir: Path, params: TemplateParams, clip: MadeFile | None) -> RenderedTemplate:
    poster = save_webp(picture, out_dir / "poster.webp", "poster", params.quality)
    return RenderedTemplate((poster, *([clip] if clip else [])), thumb_hash(picture))
