"""Runs a program of the system closed in: `python -m operators.enclosed HOME OUT SECONDS BYTES PROGRAM ARGUMENT…`.

A process of its own closes itself in and becomes the program, so that the flow never forks with its threads about.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from operators import kernel, sandbox


def main(home: str, out: str, seconds: str, size: str, program: str, *arguments: str) -> None:
    """Limits, Landlock, seccomp, then the program. Raises OSError."""
    kernel.die_with_parent(os.getppid())
    limits = sandbox.TaskLimits(cpu_s=int(seconds), memory_bytes=int(size), file_bytes=2**30)
    sandbox.limit(limits)
    folder = Path(program).resolve().parent
    # the program's resources lie beside `program/`, its folder in every package of LibreOffice
    sandbox.enclose([folder.parent if folder.name == "program" else folder], Path(home), Path(out))
    os.chdir(home)
    os.execve(program, [program, *arguments], {**dict(os.environ), "HOME": home, "TMPDIR": home})


if __name__ == "__main__":
    main(*sys.argv[1:])
