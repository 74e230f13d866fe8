"""A picture in every size that outputs ask for."""

from __future__ import annotations

from typing import Any

from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from operators.media.ladder import Size
from operators.media.plan import RenderPlan

# the scaler's quicker rounding makes white 253
_EXACT = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


class Sizes:
    """A picture in the sizes asked for, each made once and from the next larger one."""

    def __init__(self, plan: RenderPlan) -> None:
        self._plan = plan
        # A reformatter that changes its size rebuilds its tables, so there is one for each.
        self._scalers: dict[tuple[Any, ...], VideoReformatter] = {}
        self._made: dict[Size, Any] = {}

    def start(self, frame: Any) -> None:
        """Takes the next picture."""
        self._made = {self._plan.sizes[0]: self._scaled(frame, self._plan.sizes[0])}

    def at(self, size: Size) -> Any:
        """The picture as 8-bit 4:2:0, in one of the plan's sizes."""
        if size not in self._made:
            larger = self._plan.sizes[self._plan.sizes.index(size) - 1]
            self._made[size] = self._scaled(self.at(larger), size)
        return self._made[size]

    def deep(self, size: Size) -> Any:
        """The same as 10-bit 4:2:0."""
        return self._scaler("deep", size).reformat(self.at(size), format="yuv420p10le", threads=1)

    def rgb(self, size: Size, source: Size, order: str = "rgb24") -> Any:
        """The picture as a full-range frame of 8-bit RGB or BGR, made from its rendition in `source` size."""
        return self.coloured(self.at(source), size, order)

    def coloured(self, frame: Any, size: Size, order: str = "rgb24") -> Any:
        """The same of a picture that `at` gave earlier."""
        return self._scaler("rgb", size).reformat(
            frame,
            *size,
            order,
            src_colorspace=self._plan.colour.scaler,
            interpolation=_EXACT,
            src_color_range=ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            threads=1,
        )

    def _scaler(self, *key: Any) -> VideoReformatter:
        return self._scalers.setdefault(key, VideoReformatter())

    def _scaled(self, frame: Any, size: Size) -> Any:
        scaler = self._scaler("yuv", size)
        return scaler.reformat(frame, *size, "yuv420p", interpolation=_way(frame, size), threads=1)


def _way(frame: Any, size: Size) -> Interpolation:
    """Means of areas for half the size and less: less than half the work of bicubic, and no one can tell."""
    far = frame.width >= 2 * size[0] and frame.height >= 2 * size[1]
    return Interpolation.AREA if far else Interpolation.BICUBIC
