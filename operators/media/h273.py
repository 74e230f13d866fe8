"""Names of colour by ITU-T H.273, and the colour in which renditions are delivered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from av.video.reformatter import Colorspace

PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020",
    10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "ebu3213",
}  # fmt: skip
TRANSFER = {
    1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100",
    10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12",
    16: "smpte2084", 17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
MATRIX = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 14: "ictcp",
}  # fmt: skip
RANGE: dict[int, Literal["limited", "full"]] = {1: "limited", 2: "full"}
HDR: dict[str, Literal["pq", "hlg"]] = {"smpte2084": "pq", "arib-std-b67": "hlg"}
LIMITED, FULL = 1, 2
RGB_MATRIX, BT2020_MATRIX = 0, 9

_WIDE = {"bt2020", "smpte432", "bt2020nc", "bt2020c"}
_BT709, _BT601, _BT2020, _PQ = 1, 6, 9, 16
_SCALER = {"bt709": Colorspace.ITU709, "bt470bg": Colorspace.ITU601, "smpte170m": Colorspace.ITU601}


@dataclass(frozen=True)
class Colour:
    """Code points of ITU-T H.273 in which a rendition is tagged; its range is always limited."""

    primaries: int
    transfer: int
    matrix: int

    @property
    def scaler(self) -> int:
        """The matrix by swscale's number, to turn Y'CbCr into RGB."""
        return int(_SCALER[MATRIX[self.matrix]])


def _code(names: dict[int, str], name: str, otherwise: int) -> int:
    return next((code for code, known in names.items() if known == name), otherwise)


def is_wide(primaries: str, transfer: str, matrix: str) -> bool:
    """Whether the colour volume is larger than that of BT.709: BT.2020 or P3 primaries, PQ or HLG."""
    return primaries in _WIDE or matrix in _WIDE or transfer in HDR


def is_plain(primaries: str, transfer: str, matrix: str) -> bool:
    """Whether the colour is delivered as it is: standard range, a BT.709 or BT.601 matrix or none named."""
    return not is_wide(primaries, transfer, matrix) and (matrix in _SCALER or matrix == "unspecified")


BT709 = Colour(_BT709, _BT709, _BT709)


def tag(context: Any, colour: Colour = BT709) -> None:
    """Writes the colour, of limited range, into an encoder's context."""
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer
    context.colorspace, context.color_range = colour.matrix, LIMITED


def delivered(primaries: str, transfer: str, matrix: str, height: int) -> Colour:
    """The colour of renditions: the source's own where it is plain, else BT.709.

    An untagged source is taken as players take it, BT.709 from 720 lines up and BT.601 below, and tagged so:
    a small rendition of it would otherwise be shown in another colour than the large one.
    """
    if not is_plain(primaries, transfer, matrix):
        return BT709
    known = _code(MATRIX, matrix, _BT709 if height >= 720 else _BT601)
    return Colour(_code(PRIMARIES, primaries, known), _code(TRANSFER, transfer, known), known)


def coded(primaries: str, transfer: str) -> Colour:
    """The colour of a rendition that keeps an HDR source's volume (ITU-R BT.2100), with BT.2020's matrix."""
    return Colour(_code(PRIMARIES, primaries, _BT2020), _code(TRANSFER, transfer, _PQ), _BT2020)
