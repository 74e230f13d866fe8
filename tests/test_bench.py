"""The benchmark measures all that it says, and compares only what is alike."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.measure import metered, of_pairs
from bench.x264 import Unfair, accounts, require_same

ROOT = Path(__file__).parents[1]
OPTIONS = "cabac=1 ref=1 me=hex threads={threads} lookahead_threads=1 rc_lookahead=10 keyint=48 crf=21.0 aq=1:1.00"


def stream(path: Path, options: str, core: int = 165, chunks: int = 1) -> Path:
    """Bytes in which x264's account lies as it does in an MP4, once a chunk."""
    text = f"x264 - core {core} r3222 b35605a - H.264/MPEG-4 AVC codec - Copyleft 2003-2025 - options: {options}"
    path.write_bytes(
        b"".join(b"\x00\x00\x02\x9f\x06\x05" + text.encode() + b"\x00\x80\x00\x00\x01" for _ in range(chunks))
    )
    return path


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A stream that was joined of chunks, each made by one thread."""
    return stream(tmp_path / "ours.mp4", OPTIONS.format(threads=1), chunks=3)


def test_threads_may_differ(ours: Path, tmp_path: Path) -> None:
    """Encodes that differ in threads alone are comparable, and the account tells core and options."""
    account = require_same(ours, stream(tmp_path / "rival.mp4", OPTIONS.format(threads=3)))
    assert account.core == 165
    assert ("crf", "21.0") in account.options and "threads" not in dict(account.options)


@pytest.mark.parametrize(
    ("change", "core", "said"),
    [
        (("crf=21.0", "crf=23.0"), 165, "crf is 21.0 or 23.0"),
        ((" aq=1:1.00", ""), 165, "aq is 1:1.00 or absent"),
        (("", ""), 164, "core is 164 or 165"),
    ],
)
def test_another_setting_is_refused(ours: Path, tmp_path: Path, change: tuple[str, str], core: int, said: str) -> None:
    """A rival with another option, one less, or another core is refused, and the message names what differs."""
    rival = stream(tmp_path / "rival.mp4", OPTIONS.format(threads=3).replace(*change), core)
    with pytest.raises(Unfair, match=said):
        require_same(ours, rival)


def test_chunks_must_be_alike(ours: Path, tmp_path: Path) -> None:
    """A file whose chunks were set differently is refused, even beside itself."""
    mixed = tmp_path / "mixed.mp4"
    mixed.write_bytes(ours.read_bytes() + stream(tmp_path / "more.mp4", "cabac=0").read_bytes())
    with pytest.raises(Unfair, match="cabac is 0 or 1"):
        require_same(mixed, mixed)


def test_silence_about_settings_is_refused(tmp_path: Path) -> None:
    """A stream without x264's account cannot be compared."""
    empty = tmp_path / "other.mp4"
    empty.write_bytes(b"\x00\x00\x00\x18ftypmp42")
    with pytest.raises(Unfair, match="does not say"):
        accounts(empty)


def test_cost_counts_child_processes() -> None:
    """The processor time of a child that has ended is a part of a run's cost."""
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    with metered() as cost:
        subprocess.run([sys.executable, "-c", busy], check=True)
    assert cost.cpu >= 0.25
    assert cost.wall > 0 and cost.others >= 0


def test_ratio_is_of_neighbouring_runs() -> None:
    """A ratio is the median over pairs of runs, so that one disturbed pair does not decide it."""
    assert of_pairs([1.0, 9.0, 1.0], [2.0, 1.0, 2.0]) == 0.5


@pytest.mark.timeout(300)
def test_quick_run_writes_all_ratios(tmp_path: Path) -> None:
    """A run on small sources writes a ratio for each aim: a list of measure, ratio and aim, nothing implausible."""
    out = tmp_path / "bench.json"
    run = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--out", str(out)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
    rows = json.loads(out.read_text())
    assert [list(row) for row in rows] == [["measure", "ratio", "aim"]] * 7
    assert [row["aim"] for row in rows] == [0.97, 0.95, 0.8, 0.25, 0.75, 0.95, 2.0]
    assert all(0.02 < row["ratio"] < 200 for row in rows)
    assert "options but threads are equal" in run.stdout and "others' CPU s" in run.stdout
