"""What an HDR picture says of its mastering: side data that FFmpeg decodes from SEI messages and boxes."""

from __future__ import annotations

import struct
from typing import Any

from av.sidedata.sidedata import Type

from schemas.technical import Mastering

# AVMasteringDisplayMetadata: red, green, blue, white (x, y), least and most luminance as int32 pairs, two flags.
_DISPLAY = struct.Struct("=20i2i")
_LIGHT = struct.Struct("=2I")


def mastering_of(frame: Any) -> Mastering | None:
    """The mastering display (SMPTE ST 2086) and content light level (CTA-861.3) of a decoded picture."""
    found = _display(frame.side_data.get(Type.MASTERING_DISPLAY_METADATA))
    found |= _light(frame.side_data.get(Type.CONTENT_LIGHT_LEVEL))
    return Mastering.model_validate(found) if found else None


def _display(data: Any | None) -> dict[str, Any]:
    if data is None or len(bytes(data)) < _DISPLAY.size:
        return {}
    *numbers, has_primaries, has_luminance = _DISPLAY.unpack_from(bytes(data))
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    values = [round(top / bottom, 5) if bottom else 0.0 for top, bottom in pairs]
    found: dict[str, Any] = {"primaries": tuple(values[:8])} if has_primaries else {}
    return found | ({"min_nits": values[8], "max_nits": values[9]} if has_luminance else {})


def _light(data: Any | None) -> dict[str, Any]:
    """0 stands for unknown."""
    if data is None or len(bytes(data)) < _LIGHT.size:
        return {}
    most, average = _LIGHT.unpack_from(bytes(data))
    return {name: value for name, value in (("max_cll", most), ("max_fall", average)) if value}
