"""Camera raw files as a Pillow format, developed by LibRaw (rawpy) where that is installed."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageFile

from operators.media.signatures import HEAD_BYTES, RAW_TYPES, media_type_of
from schemas.errors import AssetError

rawpy: Any
try:
    import rawpy
except ImportError:
    rawpy = None

_ON_ITS_SIDE = (5, 6)  # LibRaw's flip: a quarter turn against the clock, or with it


class RawImageFile(ImageFile.ImageFile):
    """A developed picture: the camera's white balance, sRGB, 8 bits, upright."""

    format = "RAW"
    format_description = "Camera raw"

    def _open(self) -> None:
        assert self.fp
        head = self.fp.read(HEAD_BYTES)
        if media_type_of(head) not in RAW_TYPES:
            raise SyntaxError("no camera raw")
        if rawpy is None:
            raise AssetError("library_missing", "camera raw: install asset-pipeline[raw]")
        with self._raw() as raw:
            sizes = raw.sizes
        size = sizes.width, sizes.height
        self._size, self._mode = size[::-1] if sizes.flip in _ON_ITS_SIDE else size, "RGB"
        self.info["bit_depth"] = 16
        if head[:2] in (b"II", b"MM") and head[2:4] in (b"*\0", b"\0*"):
            self.info["exif"] = b"Exif\0\0" + head

    def _raw(self) -> Any:
        assert self.fp
        self.fp.seek(0)
        try:
            return rawpy.imread(self.fp)
        except rawpy.LibRawError as error:
            raise SyntaxError(str(error)) from error

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> None:  # type: ignore[override]
        """Develops it in half the size, four times as fast, where that is enough for `size` (pixels)."""
        halves = self.width // 2, self.height // 2
        self._half = bool(size) and halves[0] >= size[0] and halves[1] >= size[1]  # type: ignore[index]

    def load(self) -> Any:
        """Develops it. Raises OSError for damaged data."""
        if self._im is None:
            try:
                with self._raw() as raw:
                    pixels = raw.postprocess(use_camera_wb=True, half_size=getattr(self, "_half", False))
            except (rawpy.LibRawError, SyntaxError) as error:
                raise OSError(str(error)) from error
            picture = Image.fromarray(pixels)
            self._im, self._size = picture.im, picture.size
        return super().load()


Image.register_open("RAW", RawImageFile)
