"""One decode of a chunk feeds every output: encoded renditions, storyboard tiles, stills, the poster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operators.media.encoder import Encoder
from operators.media.filters import Filters
from operators.media.frames import Upright, decoded
from operators.media.kept import Keeper, Kept
from operators.media.ladder import Encode
from operators.media.plan import RenderPlan
from operators.media.sizes import Sizes


@dataclass(frozen=True)
class ChunkResult:
    """What a chunk gave: the number of pictures, files by encode (none where it shows no picture), and `kept` ones.

    Files are names in the chunk's folder.
    """

    frames: int
    encodes: tuple[tuple[str, str], ...] = ()
    kept: Kept = field(default_factory=Kept)


def render_chunk(
    path: Path | str, out_dir: Path | str, plan: RenderPlan, start: int | None, stop: int | None
) -> ChunkResult:
    """Renders the pictures with start <= pts < stop (one of `plan.chunks`) into files in `out_dir`.

    One decoder thread and one thread an encode: chunks run beside each other. Memory does not grow with
    the chunk's length. Errors: corrupt_media (with the time), no_media_stream.
    """
    label = "first" if start is None else str(start)
    out, frames = _Outputs(Path(out_dir), label, plan), 0
    branches = [(Upright(filters, plan.time_base), take) for filters, take in _branches(plan, out)]
    for frame in decoded(path, start, stop, plan.keys_only):
        frames += 1
        for upright, take in branches:
            for picture in upright.push(frame):
                take(picture)
    for upright, take in branches:
        for picture in upright.flush():
            take(picture)
    return out.close(frames)


def _branches(plan: RenderPlan, out: _Outputs) -> Iterator[tuple[Filters, Callable[[Any], None]]]:
    """The filters of each branch that an output needs, and where its pictures go."""
    if plan.keeps_pictures or any(not encode.hdr for encode in plan.encodes):
        yield plan.filters, out.take
    if plan.wide and any(encode.hdr for encode in plan.encodes):
        yield plan.wide.filters, out.take_wide


class _Outputs:
    """Everything that a chunk's pictures are written to; files leave memory as they are made."""

    def __init__(self, folder: Path, label: str, plan: RenderPlan) -> None:
        self._folder, self._label, self._plan = folder, label, plan
        self._sizes = Sizes(plan)
        self._keeper = Keeper(folder, label, plan, self._sizes)
        self._encoders: dict[str, Encoder] = {}
        cuts = sorted({*plan.borders, *(() if plan.first_cut is None else (plan.first_cut,))})
        self._borders, self._wide_borders = deque(cuts), deque(cuts)

    def take(self, frame: Any) -> None:
        """Feeds one upright picture to every output."""
        self._sizes.start(frame)
        key = _passed(self._borders, frame.pts)
        for encode in self._plan.encodes:
            if not encode.hdr:
                made = self._sizes.at if encode.bit_depth == 8 else self._sizes.deep
                self._encoder(encode).write(made(encode.size), key)
        self._keeper.take(frame.pts)

    def take_wide(self, frame: Any) -> None:
        """Feeds one upright picture of the source's colour volume to the HDR rendition."""
        key = _passed(self._wide_borders, frame.pts)
        for encode in self._plan.encodes:
            if encode.hdr:
                self._encoder(encode).write(frame, key)

    def _encoder(self, encode: Encode) -> Encoder:
        if encode.name not in self._encoders:
            path = self._folder / f"{encode.name}-{self._label}.mp4"
            self._encoders[encode.name] = Encoder(path, encode, self._plan)
        return self._encoders[encode.name]

    def close(self, frames: int) -> ChunkResult:
        """Ends every file."""
        for encoder in self._encoders.values():
            encoder.close()
        files = tuple((name, f"{name}-{self._label}.mp4") for name in self._encoders)
        return ChunkResult(frames, files, self._keeper.close())


def _passed(borders: deque[int], pts: int) -> bool:
    """Whether a picture is the first from a border on; a border's own may be missing in a damaged source."""
    before = len(borders)
    while borders and borders[0] <= pts:
        borders.popleft()
    return len(borders) < before
