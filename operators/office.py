"""LibreOffice, where it is installed: one conversion at a time, closed in, with a profile of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from operators.lanes import Slots
from operators.sandbox import TaskLimits
from schemas.errors import AssetError

LIMITS = TaskLimits(wall_s=300, cpu_s=300)
_OPTIONS = ("--headless", "--norestore", "--nodefault", "--nolockcheck", "--nologo", "--nofirststartwizard")
# plain text says nothing of its encoding: ours is UTF-8
_AS_UTF8 = "--infilter=Text (encoded):UTF8"
_KEPT = ("LANG", "LC_ALL", "TZ")
_MOST_LOG = 500
# EXITHELPER_NORMAL_RESTART: a new profile is set up, and its starter would begin anew
_AGAIN, _STARTS = 81, 3


@dataclass(frozen=True)
class Office:
    """The program `soffice`, and what one conversion may use."""

    program: Path
    limits: TaskLimits = LIMITS
    _slots: Slots = field(default_factory=lambda: Slots(1, 0))

    @classmethod
    def installed(cls, program: str) -> Office | None:
        """The program of this name or path; None where there is none."""
        found = shutil.which(program)
        if found is None:
            return None
        # past its starter, which makes a socket in /tmp
        itself = Path(found).resolve().with_name("soffice.bin")
        return cls(itself if itself.is_file() else Path(found))

    async def pdf(self, path: Path, scratch: Path, extension: str) -> Path:
        """The PDF of a document (extension without the dot), below `scratch`.

        The program has no network, reads the system's files and its own copy of the document, and is killed with all
        that it started once this returns or raises. Raises office_failed, decoder_timeout.
        """
        async with self._slots.hold(0.0):
            home, out = scratch / "office", scratch / "office-out"
            home.mkdir()
            out.mkdir()
            source = home / f"document.{extension}"
            await asyncio.to_thread(shutil.copyfile, path, source)
            for _ in range(_STARTS):
                if (status := await self._run(home, out, source)) != _AGAIN:
                    break
            made = out / "document.pdf"
            if status or made.is_symlink() or not made.is_file():
                raise AssetError("office_failed", f"status {status}: {_end_of(home / 'log')}")
            return made

    async def _run(self, home: Path, out: Path, source: Path) -> int:
        profile = f"-env:UserInstallation={(home / 'profile').as_uri()}"
        encoding = [_AS_UTF8] if source.suffix == ".txt" else []
        limits = [str(home), str(out), str(self.limits.cpu_s), str(self.limits.memory_bytes)]
        arguments = [*_OPTIONS, profile, *encoding, "--convert-to", "pdf", "--outdir", str(out), str(source)]
        with (home / "log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "operators.enclosed", *limits, str(self.program), *arguments,
                stdin=DEVNULL, stdout=log, stderr=log, start_new_session=True, env=_environment(),
            )  # fmt: skip
        try:
            return await asyncio.wait_for(process.wait(), self.limits.wall_s)
        except TimeoutError as error:
            raise AssetError("decoder_timeout", f"LibreOffice took more than {self.limits.wall_s:g} s") from error
        finally:
            await _end(process)


def _environment() -> dict[str, str]:
    """No secrets; where Python finds this package, no window system, and sockets in the folder where it works."""
    kept = {name: os.environ[name] for name in (*_KEPT, "PYTHONPATH") if name in os.environ}
    own = {"SAL_USE_VCLPLUGIN": "svp", "OSL_SOCKET_PATH": "."}
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **own, **kept}


async def _end(process: Process) -> None:
    """Kills the whole session: the program starts others, which outlive it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())


def _end_of(log: Path) -> str:
    """The last words that the program wrote."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _MOST_LOG))
        return " ".join(file.read().decode(errors="replace").split())
