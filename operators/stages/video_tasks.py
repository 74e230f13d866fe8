"""What sandboxed processes do for a video, beyond what the media functions do by themselves."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from operators.media.appeal import Candidate
from operators.media.kept import Kept
from operators.media.plan import RenderPlan
from operators.media.shots import Shot, Still, choose_stills, find_shots
from operators.media.storyboard import sprite, stills_archive, webvtt_map
from operators.media.thumb import thumb_hash
from operators.media.video import render_chunk
from operators.sandbox import TaskLimits
from schemas.pipelines import PreviewParams

LIMITS = TaskLimits(wall_s=2 * 3600, cpu_s=2 * 3600)


@dataclass(frozen=True)
class ChunkFiles:
    """A chunk's files by output, one each: MP4s of the encodes, the poster's JPEG, zips of all other pictures.

    `candidates` are those of the stills, and of the poster the one that is its file.
    """

    files: dict[str, Path]
    candidates: dict[str, tuple[Candidate, ...]]


def render(path: Path, scratch: Path, plan: RenderPlan, start: int | None, stop: int | None) -> ChunkFiles:
    """Renders a chunk, and packs each kind of its pictures into one zip. Raises as `render_chunk` does."""
    result = render_chunk(path, scratch, plan, start, stop)
    kept = result.kept
    files = {name: scratch / file for name, file in result.encodes}
    files |= {"poster": scratch / kept.poster[0]} if kept.poster else {}
    for name, pictures in _pictures(kept, plan).items():
        files[name] = _packed(scratch, name, pictures)
    candidates = {"stills": kept.candidates} if plan.stills else {}
    candidates |= {"poster": (kept.poster[1],) if kept.poster else ()} if plan.poster else {}
    return ChunkFiles(files, candidates)


def _pictures(kept: Kept, plan: RenderPlan) -> dict[str, list[str]]:
    found = {
        "storyboard": [file for _, file in kept.tiles] if plan.storyboard else None,
        "stills": [file for _, file in kept.stills] if plan.stills else None,
        "shots": [kept.strip] if plan.shots else None,
    }
    return {name: files for name, files in found.items() if files is not None}


def _packed(scratch: Path, name: str, files: Sequence[str]) -> Path:
    """A zip; what is no JPEG or PNG is worth packing."""
    path = scratch / f"{name}.zip"
    with zipfile.ZipFile(path, "w", compresslevel=1) as pack:
        for file in files:
            raw = file.endswith(".raw")
            pack.write(scratch / file, file, zipfile.ZIP_DEFLATED if raw else zipfile.ZIP_STORED)
    return path


@dataclass(frozen=True)
class Pictures:
    """The pictures of all chunks put together: sprite with map, shots, stills, poster with pixels and placeholder."""

    storyboard: Path | None = None
    storyboard_map: Path | None = None
    sprite_size: tuple[int, int] = (0, 0)
    shots: tuple[Shot, ...] = ()
    stills: Path | None = None
    kept: tuple[Still, ...] = ()
    poster: Path | None = None
    poster_size: tuple[int, int] = (0, 0)
    poster_time: float = 0.0
    thumbhash: str = ""


def assemble(
    scratch: Path,
    plan: RenderPlan,
    params: PreviewParams,
    packs: dict[str, list[Path]],
    candidates: list[Candidate],
    posters: list[Candidate],
) -> Pictures:
    """Storyboard, shots with stills, and poster from the chunks' files, of those outputs that `packs` has.

    `posters` are the candidates of the poster's files, in their order.
    """
    found = Pictures()
    if "storyboard" in packs and plan.storyboard:
        found = _with_storyboard(found, scratch, plan, params.storyboard_columns, packs["storyboard"])
    if "stills" in packs:
        found = _with_stills(found, scratch, plan, params, packs, candidates)
    if "poster" in packs and posters:
        path, chosen = max(zip(packs["poster"], posters, strict=True), key=lambda pair: pair[1].score)
        # where objects travel, the chunk's file is gone before the poster is stored
        kept = Path(shutil.copyfile(path, scratch / "poster.jpg"))
        found = _with_poster(found, kept, chosen)
    return found


def _with_storyboard(found: Pictures, scratch: Path, plan: RenderPlan, columns: int, packs: list[Path]) -> Pictures:
    assert plan.storyboard is not None
    tiles = {_number(p): p for p in _unpacked(scratch / "tiles", packs)}
    sheet, cues = scratch / "storyboard.jpg", scratch / "storyboard.vtt"
    size = sprite(tiles, plan.storyboard, columns, sheet)
    cues.write_text(webvtt_map(plan.storyboard, columns, plan.duration, sheet.name))
    return replace(found, storyboard=sheet, storyboard_map=cues, sprite_size=size)


def _with_stills(
    found: Pictures,
    scratch: Path,
    plan: RenderPlan,
    params: PreviewParams,
    packs: dict[str, list[Path]],
    candidates: list[Candidate],
) -> Pictures:
    strips = [strip for pack in packs["shots"] for strip in _unpacked(scratch / "strips" / pack.name, [pack])]
    time_base, origin = float(plan.time_base), float(plan.origin)
    shots = find_shots(strips, float(plan.rate), time_base, origin, plan.duration)
    kept = choose_stills(shots, candidates, params.still_every_s, params.still_most)
    pictures = {_number(p): p for p in _unpacked(scratch / "single", packs["stills"])}
    archive = scratch / "stills.zip"
    stills_archive({still.ms: pictures[still.ms] for still in kept}, archive)
    return replace(found, shots=shots, stills=archive, kept=kept)


def _with_poster(found: Pictures, path: Path, chosen: Candidate) -> Pictures:
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
