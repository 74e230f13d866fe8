"""Codec strings (RFC 6381) of an MP4's tracks, from the decoder's configuration that the file has."""

from __future__ import annotations

from typing import Any

from schemas.errors import AssetError

_RANGES = {16: "PQ", 18: "HLG"}


def codec_string(stream: Any) -> str:
    """Such as "avc1.640028", "hvc1.2.4.L120.B0", "av01.0.08M.10" or "mp4a.40.2" for a stream of an MP4.

    Raises unsupported_type for other codecs.
    """
    name, data = stream.codec_context.codec.canonical_name, stream.codec_context.extradata or b""
    if name not in _STRINGS or len(data) < 2:
        raise AssetError("unsupported_type", f"no HLS of {name}")
    return _STRINGS[name](data, stream.codec_context)


def video_range(stream: Any) -> str:
    """The VIDEO-RANGE of RFC 8216bis: SDR, PQ or HLG."""
    return _RANGES.get(int(stream.codec_context.color_trc), "SDR")


def _avc(data: bytes, _context: Any) -> str:
    """ISO/IEC 14496-15: profile, compatibility and level of AVCDecoderConfigurationRecord."""
    return f"avc1.{data[1:4].hex().upper()}"


def _hevc(data: bytes, _context: Any) -> str:
    """ISO/IEC 14496-15 Annex E.3: profile, compatibility bit by bit backwards, tier and level, constraints."""
    space = ("", "A", "B", "C")[data[1] >> 6]
    flags = int(f"{int.from_bytes(data[2:6], 'big'):032b}"[::-1], 2)
    constraints = "".join(f".{byte:X}" for byte in data[6:12].rstrip(b"\0"))
    return f"hvc1.{space}{data[1] & 31}.{flags:X}.{'H' if data[1] & 32 else 'L'}{data[12]}{constraints}"


def _av1(data: bytes, context: Any) -> str:
    """AV1 in ISO BMFF 5: profile, level, tier, bits; colour only where it is not BT.709, which is the default."""
    flags = data[2]
    bits = 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
    plain = f"av01.{data[1] >> 5}.{data[1] & 31:02d}{'H' if flags & 0x80 else 'M'}.{bits:02d}"
    colour = [int(value) for value in (context.color_primaries, context.color_trc, context.colorspace)]
    if set(colour) <= {1, 2}:
        return plain
    mono, across, down = flags >> 4 & 1, flags >> 3 & 1, flags >> 2 & 1
    tail = ".".join(f"{value:02d}" for value in colour)
    return f"{plain}.{mono}.{across}{down}{flags & 3}.{tail}.0"


def _aac(data: bytes, _context: Any) -> str:
    """ISO/IEC 14496-3: the audio object type in the first five bits of AudioSpecificConfig."""
    return f"mp4a.40.{data[0] >> 3}"


_STRINGS = {"h264": _avc, "hevc": _hevc, "av1": _av1, "aac": _aac}
