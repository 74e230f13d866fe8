"""Small assets, each another one: the same seed and number make the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

RATE = 48_000
SIZE = (96, 64)
_WORDS = ["north", "river", "stone", "amber", "window", "quiet", "market", "signal", "harvest", "copper", "valley"]

Maker = Callable[[Path, np.random.Generator], Path]


def picture(path: Path, random: np.random.Generator) -> Path:
    """A PNG of noise, 96 by 64 pixels."""
    Image.fromarray(_noise(random, SIZE)).save(path.with_suffix(".png"))
    return path.with_suffix(".png")


def sound(path: Path, random: np.random.Generator) -> Path:
    """A FLAC of a second of quiet noise, mono."""
    path = path.with_suffix(".flac")
    with av.open(str(path), "w") as container:
        _encode_noise(container, container.add_stream("flac", rate=RATE, layout="mono"), "s16", random, seconds=1)
    return path


def clip(path: Path, random: np.random.Generator) -> Path:
    """An MP4 of two seconds, 96 by 64 pixels, with sound."""
    path = path.with_suffix(".mp4")
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=12, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt, video.gop_size, video.thread_count = *SIZE, "yuv420p", 12, 1
        sound: Any = container.add_stream("aac", rate=RATE, layout="mono")
        picture = _noise(random, SIZE)
        for number in range(24):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, number, axis=1), "rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        _encode_noise(container, sound, "fltp", random, seconds=2)
    return path


def document(path: Path, random: np.random.Generator) -> Path:
    """A PDF (ISO 32000-1) of one page of words."""
    words = " ".join(random.choice(_WORDS, 40))
    text = f"BT /F1 9 Tf 10 180 Td 11 TL ({words[:60]}) Tj T* ({words[60:120]}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 5 0 R"
        b" /Resources << /Font << /F1 4 0 R >> >> >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(text), text),
    ]
    path = path.with_suffix(".pdf")
    path.write_bytes(_pdf(objects))
    return path


def _pdf(objects: list[bytes]) -> bytes:
    body, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return body + head + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(body))


def _noise(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return random.integers(0, 255, (size[1], size[0], 3), np.uint8)


def _encode_noise(container: Any, stream: Any, form: str, random: np.random.Generator, seconds: int) -> None:
    samples = random.normal(0, 0.05, (1, seconds * RATE)).clip(-1, 1)
    samples = (samples * 32767).astype(np.int16) if form == "s16" else samples.astype(np.float32)
    for at in range(0, samples.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, at : at + 1024]), form, "mono")
        frame.sample_rate, frame.pts = RATE, at
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def truncated(path: Path, random: np.random.Generator) -> Path:
    """The first half of a picture."""
    return _cut(picture(path, random), lambda data: data[: len(data) // 2])


def empty(path: Path, random: np.random.Generator) -> Path:
    """A file without bytes."""
    return _cut(picture(path, random), lambda _data: b"")


def mistyped(path: Path, random: np.random.Generator) -> Path:
    """Words that are named a film."""
    path = path.with_suffix(".mp4")
    path.write_text("\n".join(" ".join(random.choice(_WORDS, 12)) + "." for _ in range(40)))
    return path


def corrupt(path: Path, random: np.random.Generator) -> Path:
    """A PDF without its catalogue and pages."""
    return _cut(
        document(path, random), lambda data: data.replace(b"/Pages", b"/Pigs!").replace(b"/Catalog", b"/Katalog")
    )


def missing(path: Path, random: np.random.Generator) -> Path:
    """A file that is gone by the time it is read."""
    path = picture(path, random)
    path.unlink()
    return path


def _cut(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


GOOD: tuple[Maker, ...] = (picture, sound, document, clip)
# how each of these ends
BAD: dict[Maker, tuple[str, str]] = {
    truncated: ("failed", "truncated"),
    empty: ("rejected", "empty_file"),
    mistyped: ("failed", "type_mismatch"),
    corrupt: ("failed", "corrupt_document"),
    missing: ("rejected", "source_missing"),
}
