"""A video's derivatives by our engine and by ffmpeg: the best single command, two-pass loudnorm, a usual script."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import sources
from bench.engine import Derived, derived
from bench.measure import Cost, Row, metered, of_pairs
from bench.x264 import Account, require_same
from operators.media.loudness import Loudness, measure
from operators.media.sound import stereo
from schemas.pipelines import AudioParams

RIVALS = Path(__file__).parent / "rivals"
NICE = 5  # our workers step back as far, so what else the machine does weighs on both sides alike


@dataclass
class Runs:
    """The costs by side, in the order of the runs, and what was found out about them."""

    ours: list[Cost] = field(default_factory=list)
    expert: list[Cost] = field(default_factory=list)
    two_pass: list[Cost] = field(default_factory=list)
    integrity_cpu_s: list[float] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)


def compared(seconds: int, rounds: int, tell: Callable[[str], object]) -> tuple[list[Row], Runs]:
    """Rounds of ours beside the expert's, two-pass loudnorm in the middle one; `tell` says how far it is.

    Raises Unfair.
    """
    tell(f"the clip of {seconds} s")
    clip, runs = sources.clip(seconds), Runs()
    with tempfile.TemporaryDirectory(dir=sources.CACHE) as folder:
        for number in range(rounds):
            tell(f"all derivatives of the clip, round {number + 1} of {rounds}")
            _round(clip, Path(folder, str(number)), runs, with_two_pass=number == rounds // 2)
    runs.notes["less others' CPU per core, an estimate"] = _undisturbed(runs)
    return _rows(seconds, runs), runs


def _undisturbed(runs: Runs) -> str:
    """What the walls would be alone: on busy cores a program of many threads is given more than one of few."""
    cores = os.cpu_count() or 1
    sides = {"ours": runs.ours, "single command": runs.expert, "two-pass loudnorm": runs.two_pass}
    walls = {name: median(c.wall - c.others / cores for c in costs) for name, costs in sides.items()}
    cpu = {name: median(c.cpu for c in costs) for name, costs in sides.items()}
    return "; ".join(
        f"of a {name}'s: wall {walls['ours'] / walls[name]:.3f}, CPU {cpu['ours'] / cpu[name]:.3f}"
        for name in ("single command", "two-pass loudnorm")
    )


def _round(clip: Path, folder: Path, runs: Runs, with_two_pass: bool) -> None:
    runs.expert.append(_rival("expert", clip, folder))
    ours = derived(clip, folder / "ours")
    runs.ours.append(ours.cost)
    runs.integrity_cpu_s.append(ours.integrity_cpu_s)
    names = ["expert"]
    if with_two_pass:
        runs.two_pass.append(_rival("two_pass", clip, folder))
        names.append("two_pass")
    runs.notes.update(_fairness(ours, folder, names))


def _rival(name: str, clip: Path, folder: Path) -> Cost:
    command = ["nice", "-n", str(NICE), "sh", str(RIVALS / f"{name}.sh"), str(clip), str(folder / name)]
    with metered() as cost:
        subprocess.run(command, check=True, env={**os.environ, "FF": sources.ffmpeg_path()})
    return cost


def _fairness(ours: Derived, folder: Path, names: list[str]) -> Iterator[tuple[str, str]]:
    """What makes the runs comparable, as notes. Raises Unfair where x264 was set differently."""
    for rival in names:
        account = _same(ours, folder / rival)
        yield (
            f"x264, ours and {rival}",
            f"core {account.core}, all {len(account.options)} options but threads are equal",
        )
        yield f"sound, {rival}", _verdict(measure(stereo(folder / rival / "mezzanine.mp4", 48_000)))
    yield "sound, ours", _verdict(measure(stereo(ours.files["mezzanine"], 48_000)))
    yield "integrity check, ours only", f"{ours.integrity_cpu_s:.2f} CPU s"
    yield "before derive, ours", f"pools {ours.start_s:.2f} s, ingest and gate {ours.ingest_s:.2f} s: not in the ratios"


def _same(ours: Derived, theirs: Path) -> Account:
    require_same(ours.files["preview"], theirs / "preview.mp4")
    return require_same(ours.files["mezzanine"], theirs / "mezzanine.mp4")


def _verdict(sound: Loudness) -> str:
    target = AudioParams().loudness
    near = abs(sound.integrated - target.target_lufs) <= target.tolerance_lu
    held = near and sound.true_peak <= target.peak_dbtp
    return f"{sound.integrated:.1f} LUFS, {sound.true_peak:.1f} dBTP: {'meets' if held else 'misses'} the target"


def _rows(seconds: int, runs: Runs) -> list[Row]:
    what = f"{seconds} s 1080p clip, all derivatives:"
    single = "of the strongest single ffmpeg command's"
    beside = runs.ours[len(runs.ours) // 2]
    return [
        Row(f"{what} wall time, {single}", of_pairs([c.wall for c in runs.ours], [c.wall for c in runs.expert]), 0.97),
        Row(f"{what} CPU time, {single}", of_pairs([c.cpu for c in runs.ours], [c.cpu for c in runs.expert]), 0.95),
        Row(f"{what} wall time, of two-pass loudnorm's", beside.wall / runs.two_pass[0].wall, 0.8),
    ]


def remuxed(seconds: int) -> Row:
    """A source that only needs remuxing, by our engine and by a usual script of separate commands. Raises Unfair."""
    clip = sources.web_clip(seconds)
    with tempfile.TemporaryDirectory(dir=sources.CACHE) as folder:
        usual = _rival("usual", clip, Path(folder))
        ours = derived(clip, Path(folder, "ours"), remuxed=True).cost
    what = f"{seconds} s 1080p H.264 and AAC that only needs remuxing: wall time, of a usual script's"
    return Row(what, ours.wall / usual.wall, 0.25)
