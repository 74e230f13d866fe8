"""`asset-pipeline` with faults in it: a decoder that breaks on some pictures, files that change as they are read."""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import faults

from operators.media.rendition import render_image
from operators.sandbox import TaskLimits

CRASH, HANG, MEMORY = 11, 12, 13
FAULTS: dict[int, tuple[Callable[..., Any], tuple[int, ...]]] = {
    CRASH: (faults.segmentation_fault, ()),
    HANG: (faults.hang_in_c, ()),
    MEMORY: (faults.take_memory, (8 * 2**30,)),
}
WALL_S = 5


def faulty_render(path: Path, scratch: Path, *rest: Any) -> Any:
    """`render_image`, but the decoder breaks on a PNG whose width is one of `FAULTS`."""
    with path.open("rb") as file:
        (width,) = struct.unpack(">16xI", file.read(20))
    if width in FAULTS:
        fault, args = FAULTS[width]
        fault(*args)
    return render_image(path, scratch, *rest)


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def changing(open_source: Any) -> Any:
    """`open_source`, but `grows.png` grows once its first block is read, and `replaced.png` changes before it is."""

    async def opened(source: Any, *rest: Any, **named: Any) -> AsyncGenerator[bytes, None]:
        path = Path(urlsplit(source.uri).path)
        if source.name == "replaced.png":
            await asyncio.to_thread(path.write_bytes, b"something else")
        first = True
        async for block in open_source(source, *rest, **named):
            yield block
            if first and source.name == "grows.png":
                await asyncio.to_thread(_append, path)
            first = False

    return opened


def main() -> None:
    """The command with the faults put in; workers import this module by its name."""
    import faulty

    from dataflows import cli, runtime
    from operators.stages import images

    images.render_image = faulty.faulty_render  # type: ignore[assignment]
    images.LIMITS = TaskLimits(wall_s=WALL_S)
    runtime.PRELOAD += ("faulty",)  # type: ignore[assignment]
    runtime.open_source = changing(runtime.open_source)
    sys.argv[0] = "asset-pipeline"
    cli.main()


if __name__ == "__main__":
    main()
