"""`python -m bench`: measures everything in one run, prints the ratios, and writes them to bench.json."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import av
import PIL
import pyvips
from rich.console import Console
from rich.table import Table

from bench import audio, chunks, first, images, ladder, memory, overhead, sources, video
from bench.measure import Cost, Row, typical
from bench.x264 import Unfair

Tell = Callable[[str], object]


def main(arguments: Sequence[str] | None = None) -> None:
    """Exit code 0 once everything is measured, aims met or not; 1 with a message where a comparison is not fair."""
    options = _options(arguments)
    console = Console(width=None if os.isatty(1) else 140)
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    try:
        rows = _of_an_hour(console) if options.long else _measured(console, options.quick)
    except Unfair as unfair:
        raise SystemExit(f"bench: not a fair comparison: {unfair}") from unfair
    options.out.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    console.print(_ratios(rows))
    console.print(f"written to {options.out}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sources, one round: shows that it works, no more")
    parser.add_argument("--long", action="store_true", help="the rows of an hour")
    parser.add_argument("--out", type=Path, default=Path("bench.json"), help="where the ratios are written")
    return parser.parse_args(arguments)


def _measured(console: Console, quick: bool) -> list[Row]:
    tell = _told(console)
    of_video, runs = video.compared(*((4, 1) if quick else (60, 2)), tell=tell)
    console.print(
        _costs(
            "video, all runs", {"ours": runs.ours, "single command": runs.expert, "two-pass loudnorm": runs.two_pass}
        )
    )
    for name, note in runs.notes.items():
        console.print(f"{name}: {note}", highlight=False)
    tell("a source that only needs remuxing")
    of_video.append(video.remuxed(4 if quick else 60))
    of_images, costs = images.compared(*(((1600, 1200), 2) if quick else ((4000, 3000), 9)))
    console.print(_costs("image, medians", {name: [typical(found)] for name, found in costs.items()}))
    others = [] if quick else _others(console, tell)
    return [*of_video, *of_images, *others, overhead.measured(40 if quick else 500)]


def _others(console: Console, tell: Tell) -> list[Row]:
    """What is measured on a full run only."""
    of_ladders, ladders = ladder.compared()
    for name, rungs in ladders.items():
        console.print(f"{name}: {rungs}", highlight=False)
    of_chunks = chunks.compared(60, tell)
    tell("loudness and waveform")
    of_sound, _ = audio.compared(300, 3)
    tell("first playable")
    return [*of_ladders, *of_chunks, *of_sound, *first.measured([1, 10], rounds=5)]


def _of_an_hour(console: Console) -> list[Row]:
    tell = _told(console)
    tell("first playable")
    of_first = first.measured([1, 60], rounds=5)
    of_memory = [*memory.of_worker(3600, 60, 6, tell), *memory.of_whole(3600, 60, tell)]
    tell("loudness and waveform of an hour")
    of_sound, _ = audio.compared(3600, 1)
    return [*of_first, *of_memory, *of_sound]


def _told(console: Console) -> Tell:
    """Says what the figures depend on; returns what says how far it is."""
    for name, fact in _facts().items():
        console.print(f"{name}: {fact}", highlight=False)
    return lambda text: console.print(f"… {text}")


def _facts() -> dict[str, str]:
    """What the figures depend on."""
    version = subprocess.run([sources.ffmpeg_path(), "-version"], capture_output=True, text=True, check=True).stdout
    libvips = ".".join(str(pyvips.version(part)) for part in range(3))
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "ours": f"PyAV {av.__version__} with FFmpeg {av.ffmpeg_version_info}, Pillow {PIL.__version__}",
        "rivals": f"ffmpeg {version.split()[2]}, pyvips {pyvips.__version__} with libvips {libvips}",
    }


def _costs(title: str, found: dict[str, list[Cost]]) -> Table:
    """Every run, in order; `others` is what the rest of the machine burnt meanwhile."""
    table = Table("run", "wall s", "CPU s", "others' CPU s", title=title, title_justify="left")
    for name, costs in found.items():
        for cost in costs:
            table.add_row(name, *(f"{seconds:.2f}" for seconds in asdict(cost).values()))
    return table


def _ratios(rows: Sequence[Row]) -> Table:
    table = Table("measure", "ratio", "aim", "", title="less is better", title_justify="left")
    for row in rows:
        table.add_row(row.measure, f"{row.ratio:.3f}", f"{row.aim:g}", "met" if row.ratio <= row.aim else "MISSED")
    return table


if __name__ == "__main__":
    main()
