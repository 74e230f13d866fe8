"""One run of the real command, made once for all tests that look at what it kept; each takes a copy."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from flow_runs import PROGRAM, Place, picture

from dataflows import queries
from dataflows.submit import submit
from schemas.settings import Settings

NAMES = ("one.png", "two.png", "twin.png", "child.png", "broken.pdf")


@cache
def _made() -> Path:
    """`one` and its `twin` have equal bytes, `child` names `one` as its parent, and `broken` fails."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    source, settings = folder / "in", Settings(out=folder / "out")
    source.mkdir()
    for seed, name in enumerate(NAMES[:4]):
        picture(source / name, 0 if name == "twin.png" else seed)
    (source / "broken.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\n" + b"garbage " * 200)
    events = submit(settings, [str(source / name) for name in NAMES if name != "child.png"])
    submit(settings, [str(source / "child.png")], parents=(events[0].data.asset_id,))
    command = [PROGRAM, "run", source / "one.png", "--out", settings.out, "--json"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 3 or done.returncode == 0, done.stderr
    return folder


def kept(folder: Path) -> Place:
    """A copy of the run in this folder."""
    shutil.copytree(_made(), folder, dirs_exist_ok=True, symlinks=True)
    return Place(folder / "out")


def called(name: str) -> str:
    """The id of the asset whose file has this name."""
    (found,) = queries.named(Settings(out=_made() / "out"), name)
    return found
