"""Collects what the page shows of each asset; reading is all that it does to the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, TypeVar

from dataflows.report import parse
from dataflows.report.embed import MIB, Allowance, Taker
from dataflows.report.endings import Ending
from dataflows.report.lineage import Drawing, draw
from dataflows.report.placeholder import placeholder
from schemas.manifest import Manifest, Variant
from schemas.ports import ObjectStore

EACH, TOTAL = 24 * MIB, 192 * MIB
T = TypeVar("T")


@dataclass
class Page:
    """One page of a document: its picture (data: URI) and its text, each "" where there is none."""

    picture: str
    text: str


@dataclass
class AssetView:
    """One card of the page; every URI is a data: URI, "" for what is not there."""

    anchor: str
    ending: Ending
    manifest: Manifest | None = None
    thumb: str = ""
    picture: str = ""
    placeholder: str = ""
    player: str = ""
    sprite: str = ""
    duration: float = 0.0
    peaks: list[int] = field(default_factory=list)
    tiles: list[list[float]] = field(default_factory=list)
    cues: list[parse.Cue] = field(default_factory=list)
    segments: list[parse.Segment] = field(default_factory=list)
    language: str = ""
    pages: list[Page] = field(default_factory=list)
    ocr: str = ""
    labels: tuple[tuple[str, float], ...] = ()
    moments: list[parse.Moment] = field(default_factory=list)
    loudness: dict[str, Any] = field(default_factory=dict)
    missed: list[tuple[Variant, str]] = field(default_factory=list)
    lineage: Drawing | None = None

    @property
    def title(self) -> str:
        """The title, else the file's name."""
        return (self.manifest.metadata.title if self.manifest else "") or self.ending.name

    @property
    def kind(self) -> str:
        """The kind; "unknown" where it was never learnt."""
        return (self.manifest.kind.value if self.manifest else self.ending.kind) or "unknown"

    @property
    def payload(self) -> dict[str, Any]:
        """What the page's scripts need of this asset."""
        found = {"duration": self.duration, "peaks": self.peaks, "tiles": self.tiles, "cues": self.cues}
        return found | {"language": self.language}


async def gather(
    manifests: Sequence[Manifest], endings: Sequence[Ending], store: ObjectStore, each: int, total: int
) -> list[AssetView]:
    """One view for every ending, in order; `each` and `total` limit the bytes of one asset and of all."""
    known = {m.asset_id: m for m in manifests}
    allowance = Allowance(total)
    views = []
    for index, ending in enumerate(endings):
        manifest = known.get(ending.asset_id)
        view = AssetView(f"asset-{index + 1}", ending, manifest)
        if manifest is not None:
            await _fill(view, manifest, Taker(manifest, store, (Allowance(each), allowance)))
        views.append(view)
    return views


async def _fill(view: AssetView, manifest: Manifest, taker: Taker) -> None:
    """The small and telling first, so that a limit takes the large."""
    _facts(view, manifest)
    await _pictures(view, manifest, taker)
    await _texts(view, manifest, taker)
    await _sound(view, manifest, taker)
    view.player = await taker.uri(manifest.variant("preview"))
    await _pages(view, manifest, taker)
    view.missed = taker.missed
    view.lineage = draw(manifest)


def _facts(view: AssetView, manifest: Manifest) -> None:
    values = {f"{s.stage}.{s.step}": s.values for s in manifest.steps}
    view.placeholder = placeholder(str(values.get("preview.placeholder", {}).get("thumbhash", "")))
    view.labels = parse.labels(values.get("enrich.labels", {}).get("labels"))
    view.moments = parse.moments(values.get("enrich.labels", {}).get("moments"))
    loudness = values.get("derive.audio", {}).get("loudness")
    view.loudness = loudness if isinstance(loudness, dict) else {}
    view.duration = parse.number(manifest.technical.duration)


def _renditions(manifest: Manifest) -> list[Variant]:
    """The renditions of an image, smallest first."""
    return sorted((v for v in manifest.variants if v.role == "rendition"), key=lambda v: v.bytes)


async def _pictures(view: AssetView, manifest: Manifest, taker: Taker) -> None:
    renditions = _renditions(manifest)
    poster = manifest.variant("poster") or manifest.variant("page-001")
    view.thumb = await taker.uri(renditions[0] if renditions else poster)
    if len(renditions) > 1:
        view.picture = await taker.uri(manifest.variant("rendition-720") or renditions[-1])
    view.picture = view.picture or view.thumb


async def _texts(view: AssetView, manifest: Manifest, taker: Taker) -> None:
    view.cues = parse.cues(await taker.text(manifest.variant("captions")))
    view.segments = await _parsed(taker, manifest.variant("transcript"), parse.transcript, [])
    view.language = manifest.metadata.language
    view.ocr = (await taker.text(manifest.variant("ocr"))).strip()


async def _sound(view: AssetView, manifest: Manifest, taker: Taker) -> None:
    nothing: tuple[list[int], float] = ([], 0.0)
    peaks, seconds = await _parsed(taker, manifest.variant("waveform"), parse.peaks, nothing)
    view.peaks = parse.lifted(peaks)
    tiles = parse.tiles(await taker.text(manifest.variant("storyboard-map")))
    view.sprite = await taker.uri(manifest.variant("storyboard")) if tiles else ""
    view.tiles = tiles if view.sprite else []
    view.duration = view.duration or seconds or (tiles[-1][1] if tiles else 0.0)


async def _pages(view: AssetView, manifest: Manifest, taker: Taker) -> None:
    """Text by page is separated by form feeds, as pdftotext does."""
    text = await taker.text(manifest.variant("text"))
    texts = text.removesuffix("\f").split("\f") if text.strip() else []
    variants = sorted((v for v in manifest.variants if v.role == "page"), key=lambda v: v.name)
    pictures = [await taker.uri(v) for v in variants]
    view.pages = [Page(p, t.strip()) for p, t in zip_longest(pictures, texts, fillvalue="")]


async def _parsed(taker: Taker, variant: Variant | None, parser: Callable[[bytes], T], default: T) -> T:
    data = await taker.data(variant)
    try:
        return default if data is None else parser(data)
    except ValueError as error:
        taker.unreadable(variant, error)
        return default
