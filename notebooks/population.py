"""The run whose tables the saved notebooks show: made from `samples`, by the pipeline's own command.

`python -m notebooks.population FOLDER` makes files of known sizes and takes them through the pipeline, one at a time;
then the samples, copies that are nearly the same, and files that fail, all at once. Last come events of use, which are
made up. What the environment says of services holds, but for the output folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dataflows.submit import submit
from notebooks.media import damaged, measured, near_duplicates
from notebooks.uses import use
from schemas.settings import Settings

SAMPLES = Path(__file__).parent.parent / "samples"
PROGRAM = str(Path(sys.executable).with_name("asset-pipeline"))
SOME_ASSETS_FAILED = 3
LONGEST_S = 120.0
DAY_S = 86_400


def populate(folder: Path, sized: bool = True) -> None:
    """Makes the run in `folder/out`; without `sized` only what is run at once. Raises RuntimeError if it fails."""
    settings = Settings(out=folder / "out", usage_window_s=DAY_S)
    if sized:
        one_at_a_time(settings, measured(SAMPLES, folder / "measured"), folder / "in")
    originals = folder / "originals"
    shutil.copytree(SAMPLES, originals, ignore=shutil.ignore_patterns("*.py", "*.md"))
    all_at_once(settings, originals, near_duplicates(SAMPLES, folder / "copies"), damaged(SAMPLES, folder / "damaged"))
    use(settings)


def one_at_a_time(settings: Settings, files: Sequence[Path], watched: Path) -> None:
    """Each file alone in a flow that keeps running, so that nothing waits for a worker."""
    watched.mkdir(parents=True)
    with following(settings, watched):
        for count, file in enumerate(files, 1):
            shutil.copyfile(file, watched / file.name)
            until = time.monotonic() + LONGEST_S
            while len(list(settings.below("published", settings.tenant).glob("*"))) < count:
                if time.monotonic() > until:
                    raise RuntimeError(f"{file.name} was not published within {LONGEST_S:.0f} s")
                time.sleep(0.05)


@contextmanager
def following(settings: Settings, watched: Path) -> Iterator[None]:
    """`run --follow` of a folder, until the context ends."""
    command = [PROGRAM, "run", str(watched), "--follow", "--out", str(settings.out)]
    environment = os.environ | {"ASSET_PIPELINE_SETTLE_S": "0.1"}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(LONGEST_S)


def all_at_once(settings: Settings, originals: Path, copies: dict[Path, tuple[str, ...]], bad: Sequence[Path]) -> None:
    """One run of everything; a copy names the samples that it was made from as its parents."""
    events = submit(settings, [str(path) for path in sorted(originals.iterdir())])
    ids = {event.data.source.name: event.data.asset_id for event in events}
    for copy, parents in copies.items():
        submit(settings, [str(copy)], parents=tuple(ids[name] for name in parents))
    command = [PROGRAM, "run", *map(str, bad), "--out", str(settings.out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, SOME_ASSETS_FAILED):
        raise RuntimeError(done.stderr)


if __name__ == "__main__":
    populate(Path(sys.argv[1]), sized="--small" not in sys.argv)
