"""Writes the page: templates, style and scripts into one file, with a policy that lets nothing else in."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dataflows.report import rows
from dataflows.report.endings import Ending
from dataflows.report.gather import EACH, TOTAL, gather
from schemas.manifest import Manifest
from schemas.ports import ObjectStore

_FOLDER = Path(__file__).parent / "templates"
_STYLES = ("page.css", "asset.css")
_SCRIPTS = ("page.js", "player.js", "timeline.js", "lineage.js")


async def write_report(
    manifests: Sequence[Manifest],
    endings: Sequence[Ending],
    store: ObjectStore,
    path: Path,
    *,
    embed_limit: int = EACH,
    total_limit: int = TOTAL,
) -> Path:
    """Writes the page for these endings, in order, and returns its path; an older page is replaced whole.

    At most `embed_limit` bytes of an asset's variants, and `total_limit` of all, are embedded; the page names
    and links what is left out and what cannot be read. Raises OSError where `path` cannot be written.
    """
    views = await gather(manifests, endings, store, embed_limit, total_limit)
    context = {"views": views, "summary": rows.summary(views)}
    return await asyncio.to_thread(_write, context, path)


def _write(context: dict[str, Any], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    style, script = _joined(_STYLES), _script()
    parts = _environment().get_template("template.html.j2").generate(
        **context, style=Markup(style), script=Markup(script), policy=policy(style, script)
    )  # fmt: skip
    partial = path.with_name(path.name + ".part")
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(parts)
    partial.replace(path)
    return path


def policy(style: str, script: str) -> str:
    """A Content Security Policy (level 3) that runs these two texts only and loads data: and blob: only."""
    return (
        "default-src 'none'; img-src data:; media-src data: blob:; "
        f"style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _joined(names: Sequence[str]) -> str:
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)


def _script() -> str:
    return f'(() => {{\n"use strict";\n{_joined(_SCRIPTS)}\n}})();'


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    shown = (rows.size, rows.took, rows.clock, rows.dimensions, rows.safe_url, rows.facts, rows.step_lines)
    environment.filters |= {f.__name__: f for f in shown}
    environment.filters["wave_path"] = wave_path
    return environment


def wave_path(peaks: Sequence[int], bars: int = 72) -> str:
    """SVG path data of peaks (-127..127, low, high, …): bars 4 units apart around y = 0, 40 units high."""
    pairs = len(peaks) // 2
    drawn = []
    for bar in range(min(bars, pairs)):
        first, last = bar * pairs // bars, (bar + 1) * pairs // bars
        loudest = max(abs(v) for v in peaks[2 * first : 2 * max(last, first + 1)])
        height = max(1.0, loudest / 127 * 20)
        drawn.append(f"M{bar * 4 + 2} {-height:.1f}V{height:.1f}")
    return "".join(drawn)
