"""Lottie animations (Lottie Animation Community, 1.0) and dotLottie archives (1 and 2), drawn by ThorVG."""

from __future__ import annotations

import base64
import json
import math
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import thorvg_cython as thorvg
from thorvg_cython.sw_canvas import SwCanvas

from operators.media.clips import Pixels
from operators.media.fonts import SANS, font
from operators.media.packages import Package, opened_package
from operators.media.pages import known
from schemas.errors import AssetError
from schemas.pipelines import Limits
from schemas.technical import Template

MOST_LAYERS, MOST_NODES, MOST_RATE = 10_000, 5_000_000, 240.0
MOST_SECONDS = 600.0
_IMAGES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


@dataclass(frozen=True)
class Lottie:
    """An animation that was checked: its JSON with all pictures in it, and what it is."""

    data: bytes
    facts: Template


def read_lottie(path: Path, packed: bool, limits: Limits) -> Lottie:
    """Raises corrupt_template, unsafe_template, too_many_pixels, too_long, truncated, unpacks_too_large."""
    if not packed:
        return _checked(_parsed(path.read_bytes()), "lottie", limits)
    with opened_package(path, "corrupt_template") as package:
        animation = _parsed(package.read(_first(package)))
        for asset in animation.get("assets") or ():
            if isinstance(asset, dict):
                _embed(package, asset)
    return _checked(animation, "dotlottie", limits)


def _first(package: Package) -> str:
    """The part of the animation that is shown first: version 1 keeps them in `animations/`, version 2 in `a/`."""
    manifest = _parsed(package.read("manifest.json"))
    listed = manifest.get("animations")
    first = listed[0].get("id") if isinstance(listed, list) and listed and isinstance(listed[0], dict) else None
    names = [f"{folder}/{first}.json" for folder in ("a", "animations")]
    found = next((name for name in names if name in package.names), None)
    if found is None:
        raise AssetError("corrupt_template", "its manifest names no animation that it has")
    return found


def _embed(package: Package, asset: dict[str, Any]) -> None:
    """A picture of the archive becomes a part of the animation."""
    name = posixpath.basename(str(asset.get("p", "")))
    part = next((f"{folder}/{name}" for folder in ("i", "images") if f"{folder}/{name}" in package.names), None)
    kind = _IMAGES.get(posixpath.splitext(name)[1].lower())
    if part and kind:
        asset |= {"u": "", "e": 1, "p": f"data:{kind};base64,{base64.b64encode(package.read(part)).decode()}"}


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AssetError("corrupt_template", f"no JSON: {error}"[:200]) from error
    if not isinstance(found, dict):
        raise AssetError("corrupt_template", "its root is no object")
    return found


def _checked(animation: dict[str, Any], name: str, limits: Limits) -> Lottie:
    width, height, rate, start, end = (_number(animation, key) for key in ("w", "h", "fr", "ip", "op"))
    if not (width >= 1 and height >= 1 and 0 < rate <= MOST_RATE and end > start):
        raise AssetError("corrupt_template", f"{width:g}x{height:g}, {rate:g} frames a second, {start:g} to {end:g}")
    if width * height > limits.pixels:
        raise AssetError("too_many_pixels", f"{width:g}x{height:g}, limit {limits.pixels}")
    if (end - start) / rate > MOST_SECONDS:
        raise AssetError("too_long", f"{(end - start) / rate:g} s, limit {MOST_SECONDS:g} s")
    _safe(animation)
    title = animation.get("nm")
    facts = Template(
        format="dotlottie" if name == "dotlottie" else "lottie", name=known(title) if isinstance(title, str) else None,
        width=round(width), height=round(height), frames=math.ceil(end - start), frame_rate=round(rate, 3),
        duration=round((end - start) / rate, 3), version=str(animation.get("v", ""))[:50] or None,
    )  # fmt: skip
    return Lottie(json.dumps(animation).encode(), facts)


def _number(animation: dict[str, Any], key: str) -> float:
    value = animation.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise AssetError("corrupt_template", f"its {key!r} is no number")
    return float(value)


def _safe(animation: dict[str, Any]) -> None:
    """Refuses expressions (a property's `x`), what lies outside the file, and more than can be drawn."""
    layers = 0
    for nodes, node in enumerate(_objects(animation)):
        if isinstance(node.get("x"), str) and "k" in node:
            raise AssetError("unsafe_template", "it has expressions")
        source = node.get("p")
        if "layers" not in node and isinstance(source, str) and "id" in node and not source.startswith("data:"):
            raise AssetError("unsafe_template", f"it loads {source[:80]!r}")
        if isinstance(node.get("fPath"), str) and node["fPath"]:
            raise AssetError("unsafe_template", f"it loads the font {node['fPath'][:80]!r}")
        layers += len(node["layers"]) if isinstance(node.get("layers"), list) else 0
        if layers > MOST_LAYERS or nodes > MOST_NODES:
            raise AssetError("corrupt_template", f"more than {MOST_LAYERS} layers or {MOST_NODES} parts")
    if not isinstance(animation.get("layers"), list):
        raise AssetError("corrupt_template", "it has no layers")


def _objects(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every object within, in no order."""
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
        waiting += (v for v in (node.values() if isinstance(node, dict) else node) if isinstance(v, dict | list))


def drawn(lottie: Lottie, size: tuple[int, int], seconds: float, most_rate: float) -> tuple[Fraction, Iterator[Pixels]]:
    """The rate and the frames, (height, width, 3) uint8 sRGB on white, of the first `seconds`.

    Raises corrupt_template.
    """
    facts = lottie.facts
    assert facts.frame_rate and facts.duration
    rate = Fraction(min(facts.frame_rate, most_rate)).limit_denominator(1001)
    count = max(1, round(min(seconds, facts.duration) * rate))
    return rate, _frames(lottie, size, [float(i / rate) * facts.frame_rate for i in range(count)])


def _frames(lottie: Lottie, size: tuple[int, int], numbers: list[float]) -> Iterator[Pixels]:
    with thorvg.Engine(threads=0):
        # ThorVG leaves out text whose font it does not have, unless it has another one
        thorvg.Text().font_load_data("any", font(SANS)[1].read_bytes(), "ttf", True)
        canvas = SwCanvas(*size, int(thorvg.Colorspace.ABGR8888))
        animation = thorvg.LottieAnimation()
        picture = animation.get_picture()
        if picture.load_data(lottie.data, "lottie", "", True) != thorvg.Result.SUCCESS:
            raise AssetError("corrupt_template", "ThorVG cannot read it")
        picture.set_size(*size)
        canvas.add(picture)
        for number in numbers:
            animation.set_frame(number)
            for step in (canvas.update(), canvas.draw(True), canvas.sync()):
                if step != thorvg.Result.SUCCESS:
                    raise AssetError("corrupt_template", f"ThorVG cannot draw frame {number:g}")
            pixels = np.frombuffer(memoryview(canvas), np.uint8).reshape(size[1], size[0], 4)
            # colours are multiplied by their alpha
            yield pixels[..., :3] + (255 - pixels[..., 3:])
