"""Media types by their first bytes, for the containers that a content model tells apart poorly."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from operators.media.types import (
    CUBE,
    DOCX,
    DOTLOTTIE,
    ENCRYPTED_OFFICE,
    EPUB,
    LOTTIE,
    ODT,
    PDF,
    PPTX,
    TEMPLATE,
    XLSX,
)

HEAD_BYTES = 65_536

_ISO_BRANDS = {
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"M4V ": "video/x-m4v",
    b"qt  ": "video/quicktime",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"heim": "image/heic",
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"crx ": "image/x-canon-cr3",
}
_STILL_BRANDS = (b"mif1", b"msf1")
_RIFF = {b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo", b"WEBP": "image/webp"}
_OGG_CODECS = {b"\x80theora": "video/ogg", b"OpusHead": "audio/ogg", b"\x01vorbis": "audio/ogg"}
JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
RAW_TYPES = frozenset({
    "image/x-adobe-dng", "image/x-canon-cr2", "image/x-canon-cr3", "image/x-fuji-raf", "image/x-olympus-orf",
    "image/x-panasonic-rw2", "image/x-raw",
})  # fmt: skip
_PREFIXES = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"II*\0\x10\0\0\0CR": "image/x-canon-cr2",
    b"FUJIFILMCCD-RAW": "image/x-fuji-raf",
    b"IIRO": "image/x-olympus-orf",
    b"IIRS": "image/x-olympus-orf",
    b"MMOR": "image/x-olympus-orf",
    b"IIU\0": "image/x-panasonic-rw2",
    b"II+\0": "image/tiff",
    b"MM\0+": "image/tiff",
    b"fLaC": "audio/flac",
    b"caff": "audio/x-caf",
    b"riff.\x91\xcf\x11\xa5\xd6(\xdb": "audio/x-w64",
    b"#!AMR": "audio/amr",
    b"\x7f\xfe\x80\x01": "audio/vnd.dts",
    b"MAC ": "audio/x-ape",
    b"wvpk": "audio/x-wavpack",
    b"TTA1": "audio/x-tta",
    b".snd": "audio/basic",
    b"FLV\x01": "video/x-flv",
    b"\0\0\x01\xba": "video/mpeg",
    b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\0\xaa\0b\xcel": "video/x-ms-asf",
    b"\x06\x0e+4\x02\x05\x01\x01\x0d\x01\x02": "application/mxf",
}

_AC3_SYNC, _AC3_MOST = b"\x0b\x77", 6146
_DNG_VERSION, _SUBFILE, _MAKE, _SUBFILES = 50706, 254, 271, 330
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*|<\?[^>]*>\s*)*"
    rb"(?:<!DOCTYPE\s[^>\[]*(?:\[.*?\]\s*)?>\s*(?:<!--.*?-->\s*)*)?<(?:[\w-]+:)?svg[\s/>]",
    re.DOTALL,
)


def _prefix(head: bytes) -> str | None:
    return next((kind for mark, kind in _PREFIXES.items() if head.startswith(mark)), None)


def _iso(head: bytes) -> str | None:
    """ISO base media (ISO/IEC 14496-12): by the major brand, for HEIF (23008-12) also by a compatible one."""
    if head[4:8] in (b"moov", b"mdat", b"wide") and int.from_bytes(head[:4]) in (1, *range(8, 1 << 31)):
        return "video/quicktime"
    if head[4:8] != b"ftyp":
        return None
    brands = head[16 : min(int.from_bytes(head[:4]), 256)]
    compatible = [brands[i : i + 4] for i in range(0, len(brands) - 3, 4)]
    if head[8:12] in _STILL_BRANDS:
        return next((_ISO_BRANDS[b] for b in compatible if b in _ISO_BRANDS), "image/heic")
    if head[8:11] in (b"3gp", b"3g2"):
        return "video/3gpp"
    return _ISO_BRANDS.get(head[8:12], "video/mp4")


def _matroska(head: bytes) -> str | None:
    """EBML (RFC 8794): the DocType element 0x4282 says webm or matroska."""
    if not head.startswith(b"\x1aE\xdf\xa3"):
        return None
    return "video/webm" if b"\x42\x82\x84webm" in head[:256] else "video/x-matroska"


def _riff(head: bytes) -> str | None:
    return _RIFF.get(head[8:12]) if head[:4] in (b"RIFF", b"RF64") else None


def _aiff(head: bytes) -> str | None:
    return "audio/aiff" if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC") else None


def _ogg(head: bytes) -> str | None:
    """Ogg (RFC 3533): every stream's first page stands at the start, so theora is seen beside its audio."""
    if not head.startswith(b"OggS"):
        return None
    return next((kind for mark, kind in _OGG_CODECS.items() if mark in head[:1024]), "audio/ogg")


def _transport_stream(head: bytes) -> str | None:
    """MPEG-TS (ISO/IEC 13818-1): 0x47 every 188 bytes; 192 with M2TS's time codes, 204 with parity."""
    for size, first in ((188, 0), (192, 4), (204, 0)):
        marks = head[first : first + size * 5 : size]
        if len(marks) >= 3 and set(marks) == {0x47}:
            return "video/mp2t"
    return None


def _adts(head: bytes) -> str | None:
    """AAC in ADTS (ISO/IEC 13818-7): two frames, the second where the first one's length says."""
    if len(head) < 16 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    following = head[length : length + 2]
    return "audio/aac" if length > 7 and following[:1] == b"\xff" and following[1] & 0xF6 == 0xF0 else None


def _ac3(head: bytes) -> str | None:
    """AC-3 and E-AC-3 (ETSI TS 102 366): three frames of one length, each with its sync word."""
    lengths = [found.start() for found in re.finditer(_AC3_SYNC, head[:_AC3_MOST])]
    same = any(head[2 * length : 2 * length + 2] == _AC3_SYNC for length in lengths[1:])
    return "audio/ac3" if same and lengths[0] == 0 else None


def _dv(head: bytes) -> str | None:
    """DV (IEC 61834-2): blocks of 80 bytes whose first three bits tell a header, subcode and video's extra data."""
    sections = [head[place] >> 5 for place in (0, 80, 160, 240)] if len(head) > 240 else []
    return "video/x-dv" if sections == [0, 1, 1, 2] and head[:3] == b"\x1f\x07\0" else None


def _bmp(head: bytes) -> str | None:
    """BMP: `BM`, and a header size that some version of the format has (12 to 124 bytes)."""
    return (
        "image/bmp"
        if head[:2] == b"BM" and head[14:18] and 12 <= int.from_bytes(head[14:18], "little") <= 124
        else None
    )


def _pdf(head: bytes) -> str | None:
    """PDF (ISO 32000): the header, after white space at most."""
    return PDF if head[:1024].lstrip().startswith(b"%PDF-") else None


_OOXML_PARTS = {b"word/document.xml": DOCX, b"ppt/presentation.xml": PPTX, b"xl/workbook.xml": XLSX}
_ENCRYPTED_PART = "EncryptedPackage".encode("utf-16-le")


def packaged_type(sample: bytes) -> str | None:
    """A document or template by the first and last bytes of the file: names of parts in it, or of JSON's fields."""
    if sample.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):  # MS-CFB, within which MS-OFFCRYPTO encrypts
        return ENCRYPTED_OFFICE if _ENCRYPTED_PART in sample else None
    if not sample.startswith(b"PK\x03\x04"):
        return _lottie(sample)
    if sample[30:38] == b"mimetype":  # ODF 1.3 part 2, 3.3; OCF 3.3, 4.3: the first part, not compressed
        named = sample[38:120].partition(b"PK")[0]
        return next((t for t in (EPUB, ODT) if named.strip().startswith(t.encode())), None)
    names = _listed(sample)
    if b"template.json" in names:
        return TEMPLATE
    if b"manifest.json" in names and any(re.fullmatch(rb"(animations|a)/[^/]+\.json", name) for name in names):
        return DOTLOTTIE
    return next((found for part, found in _OOXML_PARTS.items() if part in names), None)


def _listed(sample: bytes) -> set[bytes]:
    """A zip's names, of entries and of its directory, as far as they are within the sample (APPNOTE 6.3.10, 4.3)."""
    names = set[bytes]()
    for mark, length, name in ((rb"PK\x03\x04", 26, 30), (rb"PK\x01\x02", 28, 46)):
        for at in (found.start() for found in re.finditer(mark, sample)):
            size = int.from_bytes(sample[at + length : at + length + 2], "little")
            names.add(sample[at + name : at + name + size])
    return names


def _cube(head: bytes) -> str | None:
    """Cube LUT: the keyword that every one has, at the start of a line."""
    return CUBE if re.search(rb"^LUT_[13]D_SIZE[ \t]+\d", head, re.MULTILINE) else None


def _lottie(head: bytes) -> str | None:
    """Lottie: an object of JSON with the size, rate and range that every one has, and layers or assets."""
    if head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{":
        return None
    numbers = all(re.search(rb'"%s"\s*:\s*-?\d' % key, head) for key in (b"fr", b"ip", b"op", b"w", b"h"))
    return LOTTIE if numbers and re.search(rb'"(layers|assets)"\s*:\s*\[', head) else None


def _first_tags(head: bytes) -> Iterator[tuple[int, int]]:
    """(tag, value or offset) of a TIFF's first directory (TIFF 6.0), where it lies within the head."""
    order = "<" if head[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", head, 4)
    (count,) = struct.unpack_from(order + "H", head, at) if at + 2 <= len(head) else (0,)
    for place in range(at + 2, min(at + 2 + 12 * count, len(head) - 11), 12):
        tag, kind = struct.unpack_from(order + "HH", head, place)
        yield tag, struct.unpack_from(order + ("H" if kind == 3 else "I"), head, place + 8)[0]


def _tiff(head: bytes) -> str | None:
    """TIFF; a DNG by its version tag, another camera's raw file by a first picture that is only a preview."""
    if head[:4] not in (b"II*\0", b"MM\0*") or len(head) < 8:
        return None
    tags = dict(_first_tags(head))
    if _DNG_VERSION in tags:
        return "image/x-adobe-dng"
    return "image/x-raw" if tags.get(_SUBFILE) == 1 and _MAKE in tags and _SUBFILES in tags else "image/tiff"


def _jpeg_xl(head: bytes) -> str | None:
    return "image/jxl" if head.startswith(JPEG_XL) else None


def _svg(head: bytes) -> str | None:
    """SVG: the root element, after a declaration, comments and a document type at most."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.decode("utf-16", "ignore").encode()
    return "image/svg+xml" if _SVG.match(head) else None


_TESTS: tuple[Callable[[bytes], str | None], ...] = (
    _prefix, _tiff, _iso, _matroska, _riff, _aiff, _ogg, _transport_stream, _adts, _ac3, _dv, _bmp, _pdf, _jpeg_xl,
    _svg, _cube,
)  # fmt: skip


def _after_id3(head: bytes) -> bytes:
    """What follows an ID3v2 tag, whose size is in 4 bytes of 7 bits; empty when that is past the head."""
    size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return head[10 + size :]


def media_type_of(head: bytes) -> str | None:
    """The media type that a file's first `HEAD_BYTES` bytes show beyond doubt, else None."""
    if head.startswith(b"ID3") and len(head) > 10:
        return media_type_of(_after_id3(head)) or "audio/mpeg"
    return next((found for test in _TESTS if (found := test(head))), None)
