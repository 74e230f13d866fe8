"""What the page's tables show: totals, facts of an asset, its steps and variants."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dataflows.report.endings import EndingStep
from dataflows.report.gather import AssetView
from schemas.errors import State
from schemas.manifest import Manifest

LONGEST = 2000


@dataclass(frozen=True)
class Summary:
    """Totals of a run; `seconds` sums the steps that ran, not those whose result was found."""

    states: dict[str, int]
    kinds: dict[str, int]
    seconds: float
    bytes: int
    ran: int
    cached: int


@dataclass(frozen=True)
class StepLine:
    """A step with its bar's width in percent of the asset's longest step, and its details as JSON text."""

    step: EndingStep
    percent: float
    details: str


def summary(views: Sequence[AssetView]) -> Summary:
    """Counts by state in the states' order, and the rest."""
    endings = [v.ending for v in views]
    counted = Counter(e.state for e in endings)
    kinds = Counter(v.kind for v in views)
    steps = [s for e in endings for s in e.steps]
    ran = [s for s in steps if not s.cached and s.state is not State.SKIPPED]
    return Summary(
        states={s.value: counted[s] for s in State if counted[s]},
        kinds=dict(sorted(kinds.items())),
        seconds=sum(s.duration_s for s in ran),
        bytes=sum(e.bytes for e in endings),
        ran=len(ran),
        cached=sum(s.cached for s in steps),
    )


def step_lines(view: AssetView) -> list[StepLine]:
    """The run's steps, else the manifest's, each with the manifest's parameters and values."""
    results = {(r.stage, r.step): r for r in view.manifest.steps} if view.manifest else {}
    steps = view.ending.steps or tuple(
        EndingStep(stage=r.stage, step=r.step, state=r.state, code=r.code, duration_s=r.duration_s)
        for r in results.values()
    )
    longest = max((s.duration_s for s in steps), default=0.0)
    lines = []
    for step in steps:
        result = results.get((step.stage, step.step))
        known = result.model_dump(mode="json", include=_DETAILS) if result else {}
        percent = 100 * step.duration_s / longest if longest > 0 else 0.0
        lines.append(StepLine(step, percent, _json(known) if known else ""))
    return lines


def _json(value: Any) -> str:
    text = json.dumps(value, indent=1, ensure_ascii=False)
    return text if len(text) <= LONGEST else text[:LONGEST] + "\n…"


def facts(manifest: Manifest) -> list[tuple[str, list[tuple[str, str]]]]:
    """Technical metadata by group, each value as text; what is unknown is left out."""
    dumped = manifest.technical.model_dump(mode="json", exclude_none=True, exclude={"kind"})
    groups: list[tuple[str, list[tuple[str, str]]]] = [("File", _scalars(dumped))]
    for name, value in dumped.items():
        entries = value if isinstance(value, list) else [value]
        nested = [e for e in entries if isinstance(e, dict)]
        for at, entry in enumerate(nested):
            heading = f"{name} {at + 1}" if len(nested) > 1 else name
            groups.append((heading.capitalize(), _scalars(entry)))
    return [(heading, rows) for heading, rows in groups if rows]


def _scalars(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [(_words(k), _text(k, v)) for k, v in values.items() if v not in _SILENT and not _nested(v)]


def _nested(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict) for v in value))


def _words(name: str) -> str:
    return name.replace("_", " ") if name.islower() else name


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _UNITS and isinstance(value, int | float):
        return _UNITS[name](value)
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def size(count: float) -> str:
    """Bytes in binary units, such as "1.5 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def took(seconds: float) -> str:
    """A duration of work, such as "45 ms", "3.2 s" or "2 min 5 s"."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def clock(seconds: float) -> str:
    """A place in time, such as "0:07" or "1:02:03"."""
    whole = int(seconds)
    hours, minutes = f"{whole // 3600}:" if whole >= 3600 else "", whole // 60 % 60
    return f"{hours}{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def dimensions(properties: dict[str, Any]) -> str:
    """Of a variant: "640 x 360" with a real multiplication sign, or its duration, or ""."""
    width, height = properties.get("width"), properties.get("height")
    if isinstance(width, int) and isinstance(height, int):
        return f"{width} × {height}"  # noqa: RUF001
    seconds = properties.get("duration_s", properties.get("duration"))
    return took(seconds) if isinstance(seconds, int | float) else ""


def safe_url(url: str) -> str:
    """The URL where a browser can open it and it runs no script, else ""."""
    try:
        return url if urlsplit(url).scheme.lower() in ("file", "http", "https") else ""
    except ValueError:
        return ""


_DETAILS = {"version", "params", "values", "result_id"}
_SILENT: tuple[Any, ...] = ("", [], {}, "unspecified", "unknown")
_UNITS: dict[str, Callable[[float], str]] = {
    "bit_rate": lambda v: f"{v / 1000:,.0f} kbit/s",
    "sample_rate": lambda v: f"{v:,} Hz",
    "size": size,
    "duration": lambda v: f"{v:,.2f} s",
}
