"""An image's renditions, placeholder hash and model still, from one decode."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageFile

from operators.media.colour import eight_bit, is_wide, to_srgb, upright
from operators.media.image import drawing_size, opened, orientation_of
from operators.media.thumb import thumb_hash
from operators.media.webp import MOST_PIXELS_A_SIDE, MadeFile, save_avif, save_jpeg, save_webp
from schemas.pipelines import ImageParams, Limits

WANTED = frozenset({"renditions", "wide", "thumbhash", "still"})
STILL_SIZE = 224
# the picture shown to a model is the middle of one resized to this part more, as its authors evaluated it
_STILL_MARGIN = 32
_GAP, _MANY_PIXELS = 3.0, 1_000_000
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


def resized(image: Image.Image, size: Size) -> Image.Image:
    """Lanczos; a far larger source is first averaged to about three times the size, which no one can tell."""
    if image.size == size:
        return image
    if image.width < 2 * _GAP * size[0] and image.width * image.height > _MANY_PIXELS and size[1] > 1:
        return _in_halves(image, size)
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=_GAP)


def _in_halves(image: Image.Image, size: Size) -> Image.Image:
    """The same by two threads, but for rounding: the filter reads across the border between the halves."""
    width, cut = size[0], size[1] // 2
    border = image.height * cut / size[1]
    boxes = (0, 0, image.width, border), (0, border, image.width, image.height)
    made = Image.new(image.mode, size)
    with ThreadPoolExecutor(2) as pool:
        heights = cut, size[1] - cut
        jobs = [
            pool.submit(image.resize, (width, height), Image.Resampling.LANCZOS, box)
            for height, box in zip(heights, boxes, strict=True)
        ]
        made.paste(jobs[0].result(), (0, 0))
        made.paste(jobs[1].result(), (0, cut))
    return made


@dataclass(frozen=True)
class _Reduced:
    """The widest rendition's picture, 8-bit in the file's own colours and as stored, and how it is to be shown."""

    stored: Image.Image
    icc: bytes | None
    turn: int
    sizes: list[Size]

    def shown(self) -> Image.Image:
        """Upright, in sRGB: colour and orientation come after the reduction, where they cost a fraction."""
        return upright(to_srgb(self.stored, self.icc), self.turn)

    def own(self) -> tuple[Image.Image, bytes] | None:
        """Upright, in the file's own colours and with their profile, where they go beyond sRGB."""
        wide = self.icc if self.stored.mode in ("RGB", "RGBA") and is_wide(self.icc) else None
        return (upright(self.stored, self.turn), wide) if wide else None


def _reduced(image: ImageFile.ImageFile, widths: Sequence[int]) -> _Reduced:
    if image.format == "PNG":
        image.load()
    turn = orientation_of(image)
    natural = drawing_size(image.size, max(widths)) if image.format == "SVG" else image.size
    sizes = sizes_of(*(natural if turn < 5 else natural[::-1]), widths)
    stored = sizes[0] if turn < 5 else sizes[0][::-1]
    image.draft(None, stored)
    image.load()
    return _Reduced(resized(eight_bit(image), stored), image.info.get("icc_profile"), turn, sizes)


def _cascade(base: Image.Image, sizes: Sequence[Size]) -> Iterator[Image.Image]:
    """Each rendition from the next wider one, so that only the first sees many pixels."""
    for size in sizes:
        base = resized(base, size)
        yield base


def model_still(image: Image.Image, size: int = STILL_SIZE) -> Image.Image:
    """(size, size) RGB for classifiers: the middle size/(size+32) of the short side, bicubic, on white."""
    side = min(image.size) * size / (size + _STILL_MARGIN)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    still = image.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
    if still.mode == "RGBA":
        still = Image.alpha_composite(Image.new("RGBA", still.size, _WHITE), still)
    return still.convert("RGB")


def render_image(
    path: Path,
    out_dir: Path,
    params: ImageParams,
    wanted: Collection[str] = WANTED,
    limits: Limits = Limits(),  # noqa: B008  (frozen)
) -> RenderedImage:
    """Makes what is wanted of renditions (`w<width>.webp`), wide (`wide.avif`), thumbhash and still (`still.jpg`).

    Of an animation, the first frame. All are upright 8-bit sRGB with no metadata, but wide, which is in the file's
    own colours and has its profile; renditions keep alpha. Raises as `check_image` does.
    """
    with opened(path, limits) as image:
        reduced = _reduced(image, params.widths)
    base = reduced.shown()
    jobs: list[Future[MadeFile]] = []
    # encoders work without Python's lock, so the widest is written while the narrower ones are made
    with ThreadPoolExecutor(2) as pool:
        if "renditions" in wanted:
            for picture in _cascade(base, reduced.sizes):
                out = out_dir / f"w{picture.width}.webp"
                jobs.append(pool.submit(save_webp, picture, out, "rendition", params.quality))
        if "wide" in wanted and (own := reduced.own()):
            jobs.append(pool.submit(save_avif, *own, out_dir / "wide.avif", "wide", params.wide_quality))
        if "still" in wanted:
            jobs.append(pool.submit(save_jpeg, model_still(base), out_dir / "still.jpg", "still"))
        thumbhash = thumb_hash(base) if "thumbhash" in wanted else None
    return RenderedImage(tuple(job.result() for job in jobs), thumbhash)


def placeholder(path: Path, limits: Limits = Limits()) -> str:  # noqa: B008  (frozen)
    """The ThumbHash (base64) of an image file."""
    with opened(path, limits) as image:
        return thumb_hash(_reduced(image, (250,)).shown())
