"""The pages of a TIFF, each as a picture."""

from __future__ import annotations

from pathlib import Path

from operators.media.colour import eight_bit, to_srgb
from operators.media.image import MOST_FRAMES, is_page, limit_pixels, opened
from operators.media.rendition import resized, sizes_of
from operators.media.webp import MadeFile, save_webp
from schemas.pipelines import ImageParams, Limits


def render_pages(path: Path, out_dir: Path, params: ImageParams, limits: Limits) -> tuple[MadeFile, ...]:
    """`page-0001.webp` and so on, `params.pages` at most, in the widest rendition's width and upright sRGB.

    Reduced copies and masks are no pages. Raises as `check_image` does.
    """
    made: list[MadeFile] = []
    with opened(path, limits) as image:
        for place in range(MOST_FRAMES):
            try:
                image.seek(place)
            except EOFError:
                break
            if not is_page(image):
                continue
            limit_pixels(image, limits)
            image.load()
            size = sizes_of(*image.size, (max(params.widths),))[0]
            shown = to_srgb(resized(eight_bit(image), size), image.info.get("icc_profile"))
            number = len(made) + 1
            made.append(save_webp(shown, out_dir / f"page-{number:04d}.webp", "page", params.quality, number))
            if number == params.pages:
                break
    return tuple(made)
