"""Loudness and waveform of sound by our engine, in one pass, against ffmpeg's ebur128 alone."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bench import sources
from bench.measure import Cost, Row, metered, of_pairs
from bench.x264 import Unfair
from operators.media.audio import render_audio
from schemas.pipelines import AudioParams, PreviewParams

AIM, CLOSE_LU = 1.2, 0.1


@dataclass
class Runs:
    """The costs by side, in the order of the runs."""

    ours: list[Cost] = field(default_factory=list)
    ebur128: list[Cost] = field(default_factory=list)


def compared(seconds: int, rounds: int) -> tuple[list[Row], Runs]:
    """Rounds of ours beside ffmpeg's, on one file. Raises Unfair where both do not measure the same loudness."""
    source, runs = sources.sound(seconds), Runs()
    with tempfile.TemporaryDirectory(dir=sources.CACHE) as folder:
        for _ in range(rounds):
            theirs, ours = _theirs(source, runs), _ours(source, Path(folder), runs)
            if abs(theirs - ours) > CLOSE_LU:
                raise Unfair(f"ours measures {ours:.2f} LUFS, ffmpeg {theirs:.2f}")
    what = f"{seconds} s of audio, loudness and waveform, of ffmpeg's ebur128 alone"
    walls, rival = [c.wall for c in runs.ours], [c.wall for c in runs.ebur128]
    cpus, rival_cpus = [c.cpu for c in runs.ours], [c.cpu for c in runs.ebur128]
    return [
        Row(f"{what}: wall time", of_pairs(walls, rival), AIM),
        Row(f"{what}: CPU time", of_pairs(cpus, rival_cpus), AIM),
    ], runs


def _ours(source: Path, folder: Path, runs: Runs) -> float:
    with metered() as cost:
        found = render_audio(source, folder, AudioParams(), PreviewParams(), ["waveform"])
    runs.ours.append(cost)
    return found.before.integrated


def _theirs(source: Path, runs: Runs) -> float:
    command = [sources.ffmpeg_path(), "-nostats", "-i", str(source), "-af", "ebur128=peak=true", "-f", "null", "-"]
    with metered() as cost:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    runs.ebur128.append(cost)
    return float(re.findall(r"I:\s+(\S+) LUFS", said)[-1])
