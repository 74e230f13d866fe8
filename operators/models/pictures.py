"""Pictures as the image network wants them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

SIDE, RESIZED = 224, 256


def _square(picture: np.ndarray) -> np.ndarray:
    """The centre square, 7/8 of the shorter side wide, as (224, 224, 3); a picture of that size as it is."""
    height, width = picture.shape[:2]
    if height == width == SIDE:
        return picture
    side = min(height, width) * SIDE / RESIZED
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))


def pixels(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 RGB pictures (H, W, 3) of any size -> float32 (N, 3, 224, 224), (x - 127) / 128."""
    squares = np.stack([_square(picture) for picture in pictures])
    return np.ascontiguousarray(((squares.astype(np.float32) - 127.0) / 128.0).transpose(0, 3, 1, 2))
