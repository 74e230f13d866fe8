"""Prepares a pod before its flow starts: `python -m dataflows.prepare`, with settings from the environment."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dataflows import recovery
from schemas.settings import Settings


def hosts(pattern: str, processes: int) -> str:
    """The lines of a Bytewax cluster's hostfile: the address of each process, whose number stands for `{}`."""
    return "".join(f"{pattern.format(number)}\n" for number in range(processes))


def main() -> None:
    """Makes the recovery store of this process unless it is there, or the hostfile of a cluster's processes.

    Ends with exit code 1 and a sentence where a volume refuses.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--store", type=Path, help="the folder of the recovery store")
    parser.add_argument("--hostfile", type=Path, help="where the addresses of a cluster's processes are written")
    parser.add_argument("--host", default="", help="the address of each process, with {} for its number")
    given, settings = parser.parse_args(), Settings()
    try:
        if given.store:
            recovery.initialised(given.store, settings.process, settings.processes)
        if given.hostfile:
            given.hostfile.write_text(hosts(given.host, settings.processes))
    except OSError as error:
        sys.exit(f"the volume refuses: {error}")


if __name__ == "__main__":
    main()
