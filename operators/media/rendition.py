"""An image's renditions, placeholder hash and model still, from one decode."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile

from operators.media.colour import eight_bit, to_srgb, upright
from operators.media.image import opened, orientation_of
from operators.media.thumb import thumb_hash
from operators.media.webp import MOST_PIXELS_A_SIDE, MadeFile, save_jpeg, save_webp
from schemas.pipelines import ImageParams, Limits

WANTED = frozenset({"renditions", "thumbhash", "still"})
STILL_SIZE = 224
# the picture shown to a model is the middle of one resized to this part more, as its authors evaluated it
_STILL_MARGIN = 32
_WHITE = (255, 255, 255, 255)

Size = tuple[int, int]


@dataclass(frozen=True)
class RenderedImage:
    """The files made, renditions from wide to narrow, and the ThumbHash in base64 where wanted."""

    files: tuple[MadeFile, ...]
    thumbhash: str | None


def sizes_of(width: int, height: int, widths: Sequence[int]) -> list[Size]:
    """(width, height) of each rendition, widest first: never wider than the source, each size once.

    A source narrower than some widths gets one rendition of its own size in their place; a picture so tall
    that WebP could not hold it is reduced to 16,383 pixels of height.
    """
    tallest = max(1, MOST_PIXELS_A_SIDE * width // max(height, MOST_PIXELS_A_SIDE))
    fitting = {min(wanted, width, tallest, MOST_PIXELS_A_SIDE) for wanted in widths} or {min(width, tallest)}
    return [(w, min(MOST_PIXELS_A_SIDE, max(1, round(height * w / width)))) for w in sorted(fitting, reverse=True)]


def _resized(image: Image.Image, size: Size) -> Image.Image:
    """Lanczos; a far larger source is first averaged to about three times the size, which no one can tell."""
    if image.size == size:
        return image
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _base(image: ImageFile.ImageFile, widths: Sequence[int]) -> tuple[Image.Image, list[Size]]:
    """The widest rendition's picture, upright 8-bit sRGB, and all sizes.

    Colour and orientation come after the reduction, where they cost a fraction.
    """
    if image.format == "PNG":
        image.load()
    turn, icc = orientation_of(image), image.info.get("icc_profile")
    sizes = sizes_of(*(image.size if turn < 5 else image.size[::-1]), widths)
    stored = sizes[0] if turn < 5 else sizes[0][::-1]
    image.draft(None, stored)
    image.load()
    return upright(to_srgb(_resized(eight_bit(image), stored), icc), turn), sizes


def _cascade(base: Image.Image, sizes: Sequence[Size]) -> Iterator[Image.Image]:
    """Each rendition from the next wider one, so that only the first sees many pixels."""
    for size in sizes:
        base = _resized(base, size)
        yield base


def model_still(image: Image.Image, size: int = STILL_SIZE) -> Image.Image:
    """(size, size) RGB for classifiers: the middle size/(size+32) of the short side, bicubic, on white."""
    side = min(image.size) * size / (size + _STILL_MARGIN)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    still = image.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    if still.mode == "RGBA":
        still = Image.alpha_composite(Image.new("RGBA", still.size, _WHITE), still)
    return still.convert("RGB")


def _renditions(base: Image.Image, sizes: Sequence[Size], out_dir: Path, quality: int) -> tuple[MadeFile, ...]:
    """The encoder works without Python's lock, so the widest is written while the narrower ones are made."""
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(save_webp, picture, out_dir / f"w{picture.width}.webp", "rendition", quality)
            for picture in _cascade(base, sizes)
        ]
    return tuple(job.result() for job in jobs)


def render_image(
    path: Path,
    out_dir: Path,
    params: ImageParams,
    wanted: Collection[str] = WANTED,
    limits: Limits = Limits(),  # noqa: B008  (frozen)
) -> RenderedImage:
    """Makes what is wanted of renditions (`w<width>.webp`), thumbhash and still (`still.jpg`).

    Of an animation, the first frame. All are upright 8-bit sRGB with no metadata; renditions keep alpha.
    Raises as `check_image` does.
    """
    with opened(path, limits) as image:
        base, sizes = _base(image, params.widths)
    files = _renditions(base, sizes, out_dir, params.quality) if "renditions" in wanted else ()
    if "still" in wanted:
        files += (save_jpeg(model_still(base), out_dir / "still.jpg", "still"),)
    return RenderedImage(files, thumb_hash(base) if "thumbhash" in wanted else None)


def placeholder(path: Path, limits: Limits = Limits()) -> str:  # noqa: B008  (frozen)
    """The ThumbHash (base64) of an image file."""
    with opened(path, limits) as image:
        return thumb_hash(_base(image, (250,))[0])
