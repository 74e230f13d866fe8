"""ThumbHash: equal to the reference, true to colour, alpha and aspect."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
import thumbhash
from media_fixtures import quarters
from PIL import ExifTags, Image

from operators.media.rendition import placeholder
from operators.media.thumb import encode, thumb_hash

SAMPLES = Path(__file__).parent.parent / "samples"


def test_thumb_hash_equals_the_reference() -> None:
    """On real opaque pictures the hash is the reference package's, byte for byte up to ties in rounding."""
    for name in ("astronaut.jpg", "rocket.jpg", "chelsea.png"):
        with Image.open(SAMPLES / name) as image:
            small = image.convert("RGBA")
            small.thumbnail((60, 60))
        expected = thumbhash.rgba_to_thumb_hash(*small.size, list(small.tobytes()))
        assert list(encode(np.asarray(small))) == expected


def test_thumb_hash_keeps_average_and_alpha() -> None:
    """The decoded average colour, opacity and aspect are the picture's, with and without alpha."""
    for alpha in (255, 128):
        image = Image.new("RGBA", (300, 150), (200, 120, 40, alpha))
        found = list(base64.b64decode(thumb_hash(image)))
        average = np.array(thumbhash.thumb_hash_to_average_rgba(found))
        assert np.abs(average - np.array([200, 120, 40, alpha]) / 255).max() < 0.04
        assert thumbhash.thumb_hash_to_approximate_aspect_ratio(found) == pytest.approx(2, rel=0.2)
    assert thumb_hash(Image.new("RGBA", (9, 9), (0, 0, 0, 0)))


def test_placeholder_sees_the_upright_picture(tmp_path: Path) -> None:
    """The hash of a file is that of its picture as shown."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    quarters().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "x.png", exif=exif)
    assert placeholder(tmp_path / "x.png") == thumb_hash(quarters())
