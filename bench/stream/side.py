"""One side of a comparison, a process of its own: what it is given, what it says of itself, and how fast it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from schemas.settings import Settings

Given = Mapping[str, Any]
ROOT = Path(__file__).parents[2]
_LONGEST_S = 600


class Meter:
    """Counts the items that one side takes in, and notes when the first one came and what all of them cost it."""

    def __init__(self, count: int) -> None:
        self.count, self.seen = count, 0
        self.first_s = self._cpu_s = 0.0
        self.more: dict[str, Any] = {}

    def passed(self, items: int) -> bool:
        """Whether these items were the last."""
        if not self.seen:
            self.first_s, self._cpu_s = time.time(), time.process_time()
        self.seen += items
        return self.seen >= self.count

    def told(self) -> dict[str, Any]:
        """Seconds since 1970, and of processor time since the first item."""
        return {"seen": self.seen, "first_s": self.first_s, "cpu_s": time.process_time() - self._cpu_s, **self.more}


def main(run: Callable[[Settings, Given, Meter], None]) -> None:
    """The main program of a side: does what `start` asks for and prints what it has measured."""
    given = json.loads(sys.argv[1])
    meter = Meter(given["count"])
    run(Settings(), given, meter)
    print(json.dumps(meter.told()), flush=True)
    os._exit(0)  # what a library's threads still do is not measured


def start(module: str, settings: Settings, python: Path = Path(sys.executable), **given: Any) -> subprocess.Popen[str]:
    """Starts a side of this package with the settings in its environment."""
    command = [str(python), "-W", "ignore", "-m", f"bench.stream.{module}", json.dumps(given)]
    environment = {**os.environ, **environment_of(settings)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a side has measured. Raises RuntimeError if it failed, or did not end within ten minutes."""
    try:
        output, _ = process.communicate(timeout=_LONGEST_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise RuntimeError(f"{process.args!r} did not end") from None
    if process.returncode:
        raise RuntimeError(f"{process.args!r} ended with code {process.returncode}")
    told: dict[str, Any] = json.loads(output.splitlines()[-1])
    return told


def environment_of(settings: Settings) -> dict[str, str]:
    """The settings that are not defaults as the variables that they are read from."""
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    return {
        f"ASSET_PIPELINE_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in values.items()
    }
