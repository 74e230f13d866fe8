"""Fonts for text whose own is not there: one of the system's, or Pillow's own (Aileron, which is Latin alone)."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from PIL import ImageFont

# the usual ones of Linux
SANS = ("LiberationSans-Regular.ttf", "DejaVuSans.ttf", "NotoSans-Regular.ttf")
MONO = ("LiberationMono-Regular.ttf", "DejaVuSansMono.ttf", "NotoSansMono-Regular.ttf")
_OWN: Any = ImageFont.load_default(1)
_OWN_FILE = os.memfd_create("font")  # here, since a task that is closed in may make none
os.write(_OWN_FILE, _OWN.font_bytes)


@cache
def font(files: tuple[str, ...]) -> tuple[str, Path]:
    """Family and file of the first of these fonts that is installed, else of Pillow's own."""
    for file in files:
        with suppress(OSError):
            found = ImageFont.truetype(file)
            return str(found.getname()[0]), Path(str(found.path))
    return _OWN.getname()[0], Path(f"/proc/self/fd/{_OWN_FILE}")
