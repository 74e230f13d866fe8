"""Small files with known properties, made for tests of images, documents and content types."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageCms

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 180, 30), (30, 30, 220), (240, 240, 240)


def quarters(width: int = 120, height: int = 80) -> Image.Image:
    """Red top left, green top right, blue bottom left, white bottom right: no two orientations look alike."""
    picture = Image.new("RGB", (width, height), WHITE)
    picture.paste(RED, (0, 0, width // 2, height // 2))
    picture.paste(GREEN, (width // 2, 0, width, height // 2))
    picture.paste(BLUE, (0, height // 2, width // 2, height))
    return picture


def corners(picture: Image.Image) -> list[tuple[int, ...]]:
    """Colours in the middle of the four quarters, row by row."""
    across, down = picture.width // 4, picture.height // 4
    points = [(x * across, y * down) for y in (1, 3) for x in (1, 3)]
    return [picture.convert("RGB").getpixel(point) for point in points]  # type: ignore[misc]


def png_chunk(name: bytes, data: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_bomb(side: int) -> bytes:
    """A valid 1-bit grey PNG of side x side black pixels, a thousandth of their size."""
    packer = zlib.compressobj(1)
    row = bytes(1 + (side + 7) // 8)
    packed = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


# the primaries' colours in X, Y, Z, adapted to D50 as profiles have them
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
REC_2020 = ((0.67348, 0.27904, -0.00193), (0.16566, 0.67534, 0.02998), (0.12505, 0.04561, 0.79683))


def display_p3(primaries: Sequence[Sequence[float]] = DISPLAY_P3) -> bytes:
    """An ICC profile with Display P3's (or other) primaries and sRGB's curve."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = bytearray(srgb.replace("sRGB built-in".encode("utf-16-be"), "Display P3 ok".encode("utf-16-be")))
    for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True):
        entry = profile.index(name, 128)
        offset = struct.unpack_from(">I", profile, entry + 4)[0] + 8
        struct.pack_into(">3i", profile, offset, *(round(value * 65536) for value in xyz))
    return bytes(profile)


def _rc4(key: bytes, data: bytes) -> bytes:
    state, j, out = list(range(256)), 0, bytearray()
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


_PAD = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")


def _encryption(user_password: bytes) -> bytes:
    """The dictionary of the standard security handler, revision 2: 40-bit RC4 (ISO 32000-1, 7.6.3)."""
    padded, document_id, rights = (user_password + _PAD)[:32], b"0123456789abcdef", struct.pack("<i", -4)
    owner = _rc4(hashlib.md5((b"owner" + _PAD)[:32]).digest()[:5], padded)
    user = _rc4(hashlib.md5(padded + owner + rights + document_id).digest()[:5], _PAD)
    return b"<</Filter/Standard/V 1/R 2/O<%s>/U<%s>/P -4>>" % (owner.hex().encode(), user.hex().encode())


def tiny_pdf(pages: int = 1, password: bytes | None = None, size: tuple[int, int] = (200, 100)) -> bytes:
    """A PDF of blank pages, encrypted where there is a password (an empty one still opens)."""
    kids = b" ".join(b"%d 0 R" % (3 + i) for i in range(pages))
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count %d/Kids[%s]>>" % (pages, kids)]
    objects += [b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]>>" % size] * pages
    trailer = b"/Root 1 0 R/Size %d" % (len(objects) + 1 + (password is not None))
    if password is not None:
        objects.append(_encryption(password))
        document_id = b"0123456789abcdef".hex().encode()
        trailer += b"/Encrypt %d 0 R/ID[<%s><%s>]" % (len(objects), document_id, document_id)
    body, offsets = b"%PDF-1.4\n", list[int]()
    for number, text in enumerate(objects, 1):
        offsets.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, text)
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    table += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return body + table + b"trailer<<%s>>\nstartxref\n%d\n%%%%EOF\n" % (trailer, len(body))


def media(path: Path, codecs: str, container: str | None = None) -> Path:
    """Half a second of grey pictures and of silence in the codecs `video+audio`, `video+` or `+audio`."""
    video, audio = codecs.split("+")
    with av.open(str(path), "w", format=container) as output:
        # every stream must be there before the first packet, which writes the header
        pictures = output.add_stream(video, rate=24, width=64, height=48, pix_fmt="yuv420p") if video else None
        sound = output.add_stream(audio, rate=48_000, layout="stereo") if audio else None
        if pictures:
            _encode(output, pictures, [_grey() for _ in range(12)], 1, Fraction(1, 24))
        if sound:
            _encode(output, sound, [_silence(sound) for _ in range(24)], 1024, Fraction(1, 48_000))
    return path


def _encode(output: Any, stream: Any, frames: list[Any], step: int, time_base: Fraction) -> None:
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number * step, time_base
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def _grey() -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((48, 64, 3), 128, np.uint8), "rgb24")


def _silence(stream: Any) -> av.AudioFrame:
    kind = stream.codec_context.codec.audio_formats[0].name
    frame = av.AudioFrame(format=kind, layout="stereo", samples=1024)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate = 48_000
    return frame


def _box(name: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I", 8 + len(data)) + name + data


def _hevc(picture: Image.Image) -> tuple[bytes, bytes]:
    """One intra picture in HEVC: the decoder configuration box and the length-prefixed access unit."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        options = {"preset": "ultrafast", "crf": "10", "x265-params": "log-level=none"}
        stream = output.add_stream("libx265", rate=1, width=picture.width, height=picture.height, options=options)
        stream.pix_fmt, stream.codec_context.codec_tag = "yuv420p", "hvc1"
        for packet in [*stream.encode(av.VideoFrame.from_image(picture)), *stream.encode(None)]:
            packet.dts = packet.pts  # x265 leaves it unset for a single picture
            output.mux(packet)
    written = file.getvalue()
    start = written.index(b"hvcC") - 4
    configuration = written[start : start + int.from_bytes(written[start : start + 4])]
    with av.open(io.BytesIO(written), "r") as source:
        return configuration, bytes(next(source.demux(video=0)))


def heic(picture: Image.Image, quarter_turns: int = 0, points: tuple[int, int] | None = None) -> bytes:
    """A HEIC file (ISO/IEC 23008-12) of one item, shown after so many quarter turns against the clock.

    Its colour is named by code points (primaries, transfer), or not at all.
    """
    configuration, data = _hevc(picture)
    ispe = _box(b"ispe", bytes(4), struct.pack(">II", *picture.size))
    colours = [_box(b"colr", b"nclx", struct.pack(">HHHB", *points, 6, 0))] if points else []
    properties = _box(b"ipco", configuration, ispe, _box(b"irot", bytes([quarter_turns])), *colours)
    used = bytes((0x81, 2, 0x83, 4))[: 3 + len(colours)]
    links = _box(b"ipma", bytes(4), struct.pack(">IHB", 1, 1, len(used)), used)
    ftyp = _box(b"ftyp", b"heic", bytes(4), b"mif1heic")

    def meta(offset: int) -> bytes:
        location = struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, offset, len(data))
        return _box(
            b"meta",
            bytes(4),
            _box(b"hdlr", bytes(8), b"pict", bytes(13)),
            _box(b"pitm", bytes(4), struct.pack(">H", 1)),
            _box(b"iloc", bytes(4), location),
            _box(b"iinf", bytes(4), struct.pack(">H", 1), _box(b"infe", b"\2\0\0\0", b"\0\1\0\0hvc1\0")),
            _box(b"iprp", properties, links),
        )

    return ftyp + meta(len(ftyp) + len(meta(0)) + 8) + _box(b"mdat", data)
