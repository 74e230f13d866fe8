"""From a wider colour volume to BT.709 by a table: PQ and HLG (ITU-R BT.2100), BT.2020 and P3 primaries.

Diffuse white, 203 cd/m2 in HDR (ITU-R BT.2408), is the white of the standard range; what is brighter is rolled off
by the EETF of ITU-R BT.2390 towards it. The order of brightness holds, greys stay grey and hues stay near.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from operators.media import h273
from schemas.technical import VideoTrack

LEVEL = 8
WHITE_NITS = 203.0
_DISPLAY_NITS = 1000.0
_MOST_NITS = 10_000.0
# Of the signal, this is left for what is brighter than the source says its brightest is.
_BEYOND = 0.02
_KNEE = 0.9
_GAMMA = 2.4
_ROWS = 64

# x and y of red, green and blue; white is D65 in all (ITU-T H.273, table 2).
_XY = {
    "bt709": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "smpte432": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65 = (0.3127, 0.3290)
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073


@dataclass(frozen=True)
class Volume:
    """A source's colour volume: names of H.273, and its brightest in cd/m2 where the source tells."""

    primaries: str
    transfer: str
    peak: float = _DISPLAY_NITS


def volume_of(track: VideoTrack) -> Volume | None:
    """The volume that is to be mapped to BT.709; None where the colour is delivered as it is."""
    if not h273.is_wide(track.primaries, track.transfer, track.matrix):
        return None
    primaries = track.primaries if track.primaries in _XY else "bt2020"
    peak = track.mastering.max_nits if track.mastering and track.hdr == "pq" else None
    return Volume(primaries, track.transfer, peak or _DISPLAY_NITS)


def mapped(rgb: np.ndarray, volume: Volume) -> np.ndarray:
    """R'G'B' of the volume (..., 3), each 0..1, as R'G'B' of BT.709 for a display of ITU-R BT.1886, each 0..1."""
    nits = _into_gamut(_display_light(rgb, volume.transfer) @ between(volume.primaries, "bt709").T)
    light = _rolled_off(nits, volume) / WHITE_NITS
    signal: np.ndarray = np.clip(light, 0, 1) ** (1 / _GAMMA)
    return signal


@lru_cache(maxsize=8)
def table(volume: Volume) -> np.ndarray:
    """The mapping as a Hald image of uint16 RGB (512, 512, 3): 64 steps a channel, red runs fastest."""
    steps, side = LEVEL**2, LEVEL**3
    grid = np.linspace(0, 1, steps)
    blue, green, red = np.meshgrid(grid, grid, grid, indexing="ij")
    out = mapped(np.stack([red, green, blue], axis=-1), volume)
    return np.ascontiguousarray(np.rint(out * 65535).astype(np.uint16).reshape(side, side, 3))


def pq_to_nits(signal: np.ndarray) -> np.ndarray:
    """cd/m2 of a PQ signal 0..1 (SMPTE ST 2084)."""
    power = np.asarray(signal) ** (1 / _M2)
    nits: np.ndarray = _MOST_NITS * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)
    return nits


def nits_to_pq(nits: np.ndarray) -> np.ndarray:
    """PQ signal 0..1 of cd/m2."""
    power = (np.maximum(nits, 0) / _MOST_NITS) ** _M1
    signal: np.ndarray = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return signal


def mapped_still(pixels: np.ndarray, volume: Volume) -> np.ndarray:
    """The same of 8-bit pixels (height, width, 3), coded for sRGB (IEC 61966-2-1), a few rows at a time."""
    out = np.empty_like(pixels)
    for top in range(0, len(pixels), _ROWS):
        light = mapped(pixels[top : top + _ROWS] / np.float32(255), volume) ** _GAMMA
        coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        out[top : top + _ROWS] = np.rint(coded * 255)
    return out


def _display_light(signal: np.ndarray, transfer: str) -> np.ndarray:
    """cd/m2 of each channel on the display for which the signal is made."""
    kind = h273.HDR.get(transfer)
    if kind == "pq":
        return pq_to_nits(signal)
    if kind == "hlg":
        return _hlg_light(signal)
    return WHITE_NITS * np.asarray(signal) ** _GAMMA


def _hlg_light(signal: np.ndarray) -> np.ndarray:
    """HLG's inverse OETF, then its OOTF with the system gamma 1.2 of a 1,000 cd/m2 display (BT.2100, table 5)."""
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - _HLG_C) / _HLG_A) + _HLG_B) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    light: np.ndarray = _DISPLAY_NITS * scene * luminance[..., None] ** 0.2
    return light


def _rolled_off(nits: np.ndarray, volume: Volume) -> np.ndarray:
    """No channel above white: all are scaled as the largest is, so that the hue stays."""
    largest = np.maximum(nits.max(axis=-1, keepdims=True), 1e-9)
    bounded = _eetf(largest, volume.peak) if volume.transfer in h273.HDR else np.minimum(largest, WHITE_NITS)
    scaled: np.ndarray = nits * bounded / largest
    return scaled


def _eetf(nits: np.ndarray, peak: float) -> np.ndarray:
    """BT.2390's EETF for a black of 0 to just under white at the peak; a last line to white at 10,000 cd/m2."""
    peak = min(max(peak, WHITE_NITS), _MOST_NITS)
    top = nits_to_pq(np.array(WHITE_NITS * (1 - _BEYOND) ** _GAMMA))
    most, white, full = nits_to_pq(np.array([peak, WHITE_NITS, _MOST_NITS]))
    signal = nits_to_pq(nits)
    curve = _hermite(np.minimum(signal / most, 1), float(top / most)) * most
    beyond = np.clip((signal - most) / max(float(full - most), 1e-9), 0, 1)
    return pq_to_nits(curve + beyond * (white - top))


def _hermite(e1: np.ndarray, most: float) -> np.ndarray:
    """E2 of BT.2390, 5.4.1: the line up to the knee, above it a spline that ends at `most`."""
    knee = 1.5 * most - 0.5
    t = np.clip((e1 - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return np.where(e1 < knee, e1, spline)


def _into_gamut(light: np.ndarray) -> np.ndarray:
    """Negative channels come in towards the grey of the same luminance, softly from 0.9 of the way out."""
    grey = np.maximum(light @ between("bt709", "xyz")[1], 1e-9)[..., None]
    far = np.maximum(1 - light.min(axis=-1, keepdims=True) / grey, 1e-9)
    near = np.where(far > _KNEE, _KNEE + (1 - _KNEE) * np.tanh((far - _KNEE) / (1 - _KNEE)), far)
    inside: np.ndarray = grey + (light - grey) * near / far
    return inside


def between(source: str, target: str) -> np.ndarray:
    """The matrix (3, 3) from linear RGB of these primaries to those, or to "xyz" of D65."""
    matrix = _to_xyz(_XY[source])
    return matrix if target == "xyz" else np.linalg.solve(_to_xyz(_XY[target]), matrix)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    x, y = _D65
    gains = np.linalg.solve(columns, np.array([x / y, 1, (1 - x - y) / y]))
    matrix: np.ndarray = columns * gains
    return matrix
