"""Disks that are full for a while: of scratch, and of a recovery store, each on a tmpfs of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chaos.flows import Process, each
from chaos.trial import Options, Report, Trial, run
from chaos.waiting import eventually

FULL_S, BETWEEN_S = 30.0, 15.0
ROOM_KB = 65_536
# what cannot hold a picture and not even a journal
NO_ROOM_KB = 8
SCRATCH, STORE = ("ingest", "derive"), ("derive", "register")


def disk(options: Options) -> Report:
    """No room left for 30 s on scratch, then on the recovery store, of two flows each."""
    with ExitStack() as mounts:
        return run(lambda trial: _act(trial, mounts), options)


def _act(trial: Trial, mounts: ExitStack) -> None:
    processes = {flow: Process(flow, 0, 1, "", trial.stack) for flow in {*SCRATCH, *STORE}}
    places = [(flow, "scratch", processes[flow].folder / "scratch") for flow in SCRATCH]
    places += [(flow, "recovery store", processes[flow].store) for flow in STORE]
    for _, _, place in places:
        mounts.enter_context(_mounted(place))
    trial.fleet.start(each(1))
    parts = trial.load.parts(trial.options.assets, len(places))
    for part, (flow, what, place) in zip(parts, places, strict=True):
        trial.burst(part, trial.scaled(BETWEEN_S))
        trial.meet(f"{what} of {flow} full", _full(place), seconds=trial.scaled(FULL_S))
    trial.settle()
    trial.replay()


@contextmanager
def _mounted(place: Path) -> Iterator[None]:
    """A file system in memory at this place. Raises CalledProcessError where this process may not mount any."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM_KB}k", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@contextmanager
def _full(place: Path) -> Iterator[None]:
    """Takes the room that is left, and gives it back."""
    # what is in use decides how small it can be, and that changes at any time
    if not eventually(lambda: _sized(place, _used_kb(place) + NO_ROOM_KB), 30.0):
        raise RuntimeError(f"{place} could not be made small")
    try:
        yield
    finally:
        _sized(place, ROOM_KB)


def _sized(place: Path, kb: int) -> bool:
    done = subprocess.run(["mount", "-o", f"remount,size={kb}k", place], capture_output=True)
    return done.returncode == 0


def _used_kb(place: Path) -> int:
    blocks = os.statvfs(place)
    return (blocks.f_blocks - blocks.f_bfree) * blocks.f_frsize // 1024
