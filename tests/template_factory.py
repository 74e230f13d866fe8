"""Templates and effects with known looks: a square that moves, tables of known colours, a manifest with previews."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import document_factory as made
import media_factory as media
from PIL import Image

RED, BLUE = (255, 0, 0), (0, 0, 255)


def fixed(value: Any) -> dict[str, Any]:
    """A property that does not move."""
    return {"a": 0, "k": value}


def lottie() -> dict[str, Any]:
    """200x100, 30 frames a second, 2 s: a red square of 40 whose middle goes from x = 50 to 150, at y = 50."""
    moves = [
        {"t": 0, "s": [50, 50], "i": {"x": [1], "y": [1]}, "o": {"x": [0], "y": [0]}}, {"t": 60, "s": [150, 50]},
    ]  # fmt: skip
    still = {"a": fixed([0, 0]), "s": fixed([100, 100]), "r": fixed(0), "o": fixed(100)}
    square = [
        {"ty": "rc", "d": 1, "s": fixed([40, 40]), "p": fixed([0, 0]), "r": fixed(0)},
        {"ty": "fl", "c": fixed([1, 0, 0, 1]), "o": fixed(100)},
        {"ty": "tr", "p": fixed([0, 0]), **still},
    ]
    layer = {
        "ddd": 0, "ind": 1, "ty": 4, "nm": "square", "sr": 1, "ks": {"p": {"a": 1, "k": moves}, **still},
        "shapes": [{"ty": "gr", "it": square}], "ip": 0, "op": 60, "st": 0,
    }  # fmt: skip
    return {
        "v": "5.7.0", "fr": 30, "ip": 0, "op": 60, "w": 200, "h": 100, "nm": "Moving square", "ddd": 0, "assets": [],
        "layers": [layer],
    }  # fmt: skip


def written(text: str, font: str) -> dict[str, Any]:
    """The animation with a black word on its left instead of the square."""
    animation = lottie()
    ks = {"p": fixed([10, 70]), "a": fixed([0, 0]), "s": fixed([100, 100]), "r": fixed(0), "o": fixed(100)}
    look = {"s": 60, "f": font, "t": text, "j": 0, "tr": 0, "lh": 72, "ls": 0, "fc": [0, 0, 0]}
    word = {"d": {"k": [{"s": look, "t": 0}]}, "p": {}, "m": {"g": 1, "a": fixed([0, 0])}, "a": []}
    layer = {"ddd": 0, "ind": 1, "ty": 5, "nm": "word", "sr": 1, "ks": ks, "t": word, "ip": 0, "op": 60, "st": 0}
    fonts = {"list": [{"fName": font, "fFamily": font, "fStyle": "Regular", "ascent": 75}]}
    return animation | {"fonts": fonts, "layers": [layer]}


def with_picture(source: str) -> dict[str, Any]:
    """The animation with a blue picture of 40x40 in its upper left corner, loaded from `source`."""
    animation = lottie()
    animation["assets"] = [{"id": "image_0", "w": 40, "h": 40, "u": "images/", "p": source, "e": 0}]
    ks = {"p": fixed([0, 0]), "a": fixed([0, 0]), "s": fixed([100, 100]), "r": fixed(0), "o": fixed(100)}
    layer = {"ddd": 0, "ind": 2, "ty": 2, "refId": "image_0", "sr": 1, "ks": ks, "ip": 0, "op": 60, "st": 0}
    animation["layers"].append(layer)
    return animation


def png(colour: tuple[int, int, int] = BLUE, size: tuple[int, int] = (40, 40)) -> bytes:
    """A picture of one colour."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def dotlottie(path: Path, folder: str = "animations") -> Path:
    """The animation with its picture in an archive, in the folders of version 1 or 2 (`a`)."""
    images = "i" if folder == "a" else "images"
    return made.zipped(path, {
        "manifest.json": json.dumps({"version": "1", "animations": [{"id": "first"}]}),
        f"{folder}/first.json": json.dumps(with_picture("blue.png")), f"{images}/blue.png": png(),
    })  # fmt: skip


def cube(size: int, colour: Callable[[Sequence[float]], Sequence[float]], dimensions: int = 3, head: str = "") -> str:
    """A table that maps each colour (0..1) to another."""
    steps = [i / (size - 1) for i in range(size)]
    points = [(r, g, b) for b in steps for g in steps for r in steps] if dimensions == 3 else [(s, s, s) for s in steps]
    rows = "\n".join(" ".join(f"{value:.6f}" for value in colour(point)) for point in points)
    return f'# made for a test\nTITLE "Known look"\nLUT_{dimensions}D_SIZE {size}\n{head}\n{rows}\n'


def inverted(point: Sequence[float]) -> list[float]:
    """A negative."""
    return [1 - value for value in point]


def manifest(contents: dict[str, bytes], **changes: Any) -> str:
    """A `template.json` of these files."""
    listed = [{"path": path, "sha256": hashlib.sha256(data).hexdigest()} for path, data in contents.items()]
    fields = {
        "format": "asset-pipeline/template/1", "name": "Lower third", "kind": "title", "engine": "Blender",
        "version": "4.2", "description": "A name and a role", "keywords": ["title", "name"],
        "parameters": [{"name": "headline", "type": "text", "default": "Jane"}],
        "preview": {"picture": "preview.png", "clip": "preview.mp4"}, "files": listed,
    }  # fmt: skip
    return json.dumps(fields | changes)


def files(folder: Path) -> dict[str, bytes]:
    """The template's own files: a picture of 640x360, a clip of 3 s, and what its engine reads."""
    clip = media.write(folder / "clip.mp4", media.Clip(pts=range(72), size=(320, 180), gop=24))
    return {"preview.png": png(size=(640, 360)), "preview.mp4": clip.read_bytes(), "scene.blend": b"BLENDER"}


def template(path: Path, contents: dict[str, bytes], **changes: Any) -> Path:
    """An archive of these files with their manifest."""
    return made.zipped(path, {"template.json": manifest(contents, **changes), **contents})
