"""Files made from `samples`: of known sizes, nearly the same as a sample, or damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import pypdfium2 as pdfium
from PIL import Image, ImageEnhance

# width in pixels, seconds, (seconds, height in pixels), pages; the first of each loads the models that its kind needs
WIDTHS = (320, 800, 1600, 2800, 4000)
SECONDS = (1.5, 3.0, 6.0, 9.0)
CLIPS = ((1.0, 480), (2.0, 480), (2.0, 720), (4.0, 240), (6.0, 480))
PAGES = (3, 4, 6, 9)


def measured(samples: Path, folder: Path) -> list[Path]:
    """Pictures, sounds, clips and documents of several sizes."""
    folder.mkdir(parents=True)
    return [
        *(_picture(samples / "rocket.jpg", folder / f"rocket-{width}.jpg", width) for width in WIDTHS),
        *(_pages(samples / "coffee-guide.pdf", folder / f"coffee-guide-{count}.pdf", count) for count in PAGES),
        *(_sound(samples / "jfk.flac", folder / f"jfk-{seconds:g}s.flac", seconds) for seconds in SECONDS),
        *(_clip(samples / "big-buck-bunny.mp4", folder / f"big-buck-bunny-{s:g}s-{h}p.mp4", s, h) for s, h in CLIPS),
    ]


def _picture(source: Path, path: Path, width: int) -> Path:
    with Image.open(source) as picture:
        height = round(picture.height * width / picture.width)
        picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS).save(path, quality=90)
    return path


def _pages(source: Path, path: Path, count: int) -> Path:
    with pdfium.PdfDocument(source) as old, pdfium.PdfDocument.new() as new:
        new.import_pages(old, [page % len(old) for page in range(count)])
        new.save(path)
    return path


def _sound(source: Path, path: Path, seconds: float) -> Path:
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream: Any = new.add_stream("flac", rate=old.streams.audio[0].rate, layout=old.streams.audio[0].layout)
        for frame in old.decode(audio=0):
            if (frame.time or 0.0) < seconds:
                new.mux(stream.encode(frame))
        new.mux(stream.encode(None))
    return path


def _clip(source: Path, path: Path, seconds: float, height: int) -> Path:
    """The beginning of a clip at another height, with its sound in stereo."""
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        video = old.streams.video[0]
        width = round(video.width * height / video.height / 2) * 2
        shown: Any = new.add_stream("libx264", rate=video.average_rate, options={"preset": "ultrafast", "crf": "23"})
        shown.width, shown.height, shown.pix_fmt = width, height, "yuv420p"
        heard: Any = new.add_stream("aac", rate=48_000, layout="stereo")
        stereo = av.AudioResampler("fltp", "stereo", 48_000)
        for frame in old.decode(video=0, audio=0):
            if isinstance(frame, av.VideoFrame) and (frame.time or 0.0) < seconds:
                new.mux(shown.encode(frame.reformat(width, height)))
            elif isinstance(frame, av.AudioFrame) and (frame.time or 0.0) < seconds:
                for ready in stereo.resample(frame):
                    new.mux(heard.encode(ready))
        for stream in (shown, heard):
            new.mux(stream.encode(None))
    return path


def near_duplicates(samples: Path, folder: Path) -> dict[Path, tuple[str, ...]]:
    """Copies that a person would call the same picture, and a collage; each with the samples that it is made from."""
    folder.mkdir(parents=True)
    names = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.jpg")
    pictures = {name: Image.open(samples / name).convert("RGB") for name in names}
    cat, coffee, rocket = (pictures[name] for name in names[:3])
    side = 240
    collage = Image.new("RGB", (2 * side, 2 * side))
    for number, picture in enumerate(pictures.values()):
        collage.paste(picture.resize((side, side)), (number % 2 * side, number // 2 * side))
    made = {
        "chelsea-small.jpg": (cat.resize((300, 200)), names[:1]),
        "coffee-crop.jpg": (coffee.crop((30, 20, 570, 380)), names[1:2]),
        "rocket-bright.jpg": (ImageEnhance.Brightness(rocket).enhance(1.25), names[2:3]),
        "collage.jpg": (collage, names),
    }
    for name, (picture, _parents) in made.items():
        picture.save(folder / name, quality=85)
    return {folder / name: parents for name, (_picture, parents) in made.items()}


def damaged(samples: Path, folder: Path) -> Sequence[Path]:
    """Files that fail, each for another reason but two."""
    folder.mkdir(parents=True)
    clip, sound = (samples / "big-buck-bunny.mp4").read_bytes(), (samples / "jfk.flac").read_bytes()
    files = {
        "empty.png": b"",
        "cut.mp4": clip[: len(clip) * 6 // 10],
        "cut.flac": sound[: len(sound) // 2],
        "words.mp4": b"These are words, not a film.\n" * 50,
        "broken.pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\n" + b"garbage " * 200,
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]
