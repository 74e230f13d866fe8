"""What sandboxed processes do for a video, beyond what the media functions do by themselves."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from operators.media.plan import RenderPlan
from operators.media.storyboard import sprite, stills_archive, webvtt_map
from operators.media.thumb import thumb_hash
from operators.media.video import ChunkResult, Poster, choose_poster, render_chunk
from operators.sandbox import TaskLimits

LIMITS = TaskLimits(wall_s=2 * 3600, cpu_s=2 * 3600)


@dataclass(frozen=True)
class ChunkFiles:
    """A chunk's files by output: one MP4 for each encode, one zip of pictures for each of the others."""

    files: dict[str, Path]
    posters: tuple[Poster, ...]


def render(path: Path, scratch: Path, plan: RenderPlan, start: int | None, stop: int | None) -> ChunkFiles:
    """Renders a chunk, and packs each kind of its pictures into one zip. Raises as `render_chunk` does."""
    result = render_chunk(path, scratch, plan, start, stop)
    files = {name: scratch / file for name, file in result.encodes}
    for name, pictures in _pictures(result, plan).items():
        files[name] = _packed(scratch, name, pictures)
    return ChunkFiles(files, result.posters)


def _pictures(result: ChunkResult, plan: RenderPlan) -> dict[str, list[str]]:
    found = {
        "storyboard": [file for _, file in result.tiles] if plan.storyboard else None,
        "stills": [file for _, file in result.stills] if plan.stills else None,
        "poster": [p.file for p in result.posters] if plan.poster else None,
    }
    return {name: files for name, files in found.items() if files is not None}


def _packed(scratch: Path, name: str, files: Sequence[str]) -> Path:
    path = scratch / f"{name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as pack:
        for file in files:
            pack.write(scratch / file, file)
    return path


@dataclass(frozen=True)
class Pictures:
    """The pictures of all chunks put together: sprite with map, stills, poster with its pixels and placeholder."""

    storyboard: Path | None = None
    storyboard_map: Path | None = None
    sprite_size: tuple[int, int] = (0, 0)
    stills: Path | None = None
    poster: Path | None = None
    poster_size: tuple[int, int] = (0, 0)
    poster_time: float = 0.0
    thumbhash: str = ""


def assemble(
    scratch: Path, plan: RenderPlan, columns: int, packs: dict[str, list[Path]], posters: list[Poster]
) -> Pictures:
    """Storyboard, stills and poster from the chunks' zips, of those outputs that `packs` has."""
    found = Pictures()
    if "storyboard" in packs and plan.storyboard:
        tiles = {_number(p): p for p in _unpacked(scratch / "tiles", packs["storyboard"])}
        sheet, cues = scratch / "storyboard.jpg", scratch / "storyboard.vtt"
        size = sprite(tiles, plan.storyboard, columns, sheet)
        cues.write_text(webvtt_map(plan.storyboard, columns, plan.duration, sheet.name))
        found = replace(found, storyboard=sheet, storyboard_map=cues, sprite_size=size)
    if "stills" in packs and plan.stills:
        archive = scratch / "stills.zip"
        stills_archive({_number(p): p for p in _unpacked(scratch / "single", packs["stills"])}, archive)
        found = replace(found, stills=archive)
    chosen = choose_poster(posters)
    if "poster" in packs and chosen:
        pictures = {p.name: p for p in _unpacked(scratch / "posters", packs["poster"])}
        found = _with_poster(found, pictures[chosen.file], chosen)
    return found


def _with_poster(found: Pictures, path: Path, chosen: Poster) -> Pictures:
    with Image.open(path) as image:
        return replace(
            found,
            poster=path,
            poster_size=image.size,
            poster_time=chosen.time,
            thumbhash=thumb_hash(image.convert("RGB")),
        )


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _unpacked(folder: Path, packs: Sequence[Path]) -> list[Path]:
    for pack in packs:
        with zipfile.ZipFile(pack) as opened:
            opened.extractall(folder)
    return sorted(folder.iterdir())
