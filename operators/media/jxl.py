"""JPEG XL (ISO/IEC 18181) as a Pillow format, decoded by pylibjxl where that is installed."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageFile

from operators.media.signatures import HEAD_BYTES, JPEG_XL
from schemas.errors import AssetError

pylibjxl: Any
try:
    import pylibjxl
except ImportError:
    pylibjxl = None

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def _probed(head: bytes, rest: Any) -> dict[str, Any]:
    """What the header says; all of the file is read where a large box stands before it."""
    try:
        return dict(pylibjxl.probe(head))
    except RuntimeError:
        return dict(pylibjxl.probe(head + rest()))


class JxlImageFile(ImageFile.ImageFile):
    """A JPEG XL picture, turned upright by its decoder, in 8 bits; of an animation, the first frame."""

    format = "JXL"
    format_description = "JPEG XL"

    def _open(self) -> None:
        if pylibjxl is None:
            raise AssetError("library_missing", "JPEG XL: install asset-pipeline[jxl]")
        assert self.fp
        try:
            found = _probed(self.fp.read(HEAD_BYTES), self.fp.read)
        except RuntimeError as error:
            raise SyntaxError(str(error)) from error
        self._size, self._mode = (found["width"], found["height"]), _MODES[found["channels"]]
        self.info["bit_depth"] = found["bits_per_sample"]

    def load(self) -> Any:
        """Decodes the picture, and its profile, EXIF and XMP with it. Raises OSError."""
        if self._im is None:
            assert self.fp
            self.fp.seek(0)
            try:
                pixels, blocks = pylibjxl.decode(self.fp.read(), metadata=True)
            except RuntimeError as error:
                raise OSError(str(error)) from error
            picture = Image.fromarray(pixels if pixels.shape[-1] > 1 else pixels.reshape(pixels.shape[:2]), self._mode)
            self._im, self._size = picture.im, picture.size
            self.info.update(_metadata(blocks))
            self._exif = None  # what was read of it before there was any
        return super().load()


def _metadata(blocks: dict[str, bytes]) -> dict[Any, bytes]:
    """By Pillow's names; the Exif box begins with the offset of its TIFF header."""
    exif = blocks.get("exif", b"")
    exif = exif[4 + int.from_bytes(exif[:4]) :] if exif[:1] == b"\0" else exif
    found = {"icc_profile": blocks.get("icc"), "exif": exif and b"Exif\0\0" + exif, "xmp": blocks.get("xmp")}
    return {name: data for name, data in found.items() if data}


Image.register_open("JXL", JxlImageFile, lambda head: head.startswith(JPEG_XL))
