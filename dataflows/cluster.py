"""Flows whose processes form a Bytewax cluster: whether what the engine was given agrees with the settings."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from schemas.settings import Settings

CLUSTERED = frozenset({"usage"})


def check(settings: Settings, store: Path | None) -> None:
    """Raises ValueError where partitions would be read by two processes or by none, or state be kept twice."""
    if store:
        raise ValueError("a flow that runs as a cluster keeps no recovery store: leave out -r")
    process, count = given()
    if (process, count) != (settings.process, settings.processes):
        raise ValueError(
            f"this is process {settings.process} of {settings.processes} by ASSET_PIPELINE_PROCESS and "
            f"ASSET_PIPELINE_PROCESSES, but {process} of {count} by Bytewax's -i and -a"
        )


def given() -> tuple[int, int]:
    """The process's number and how many there are, by what `python -m bytewax.run` was given; it reads the same."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-i", "--process-id", type=int, default=os.environ.get("BYTEWAX_PROCESS_ID"))
    parser.add_argument("-a", "--addresses", default=os.environ.get("BYTEWAX_ADDRESSES"))
    found = parser.parse_known_args()[0]
    process, addresses = found.process_id, found.addresses
    if process is None and "BYTEWAX_POD_NAME" in os.environ:
        process = int(os.environ["BYTEWAX_POD_NAME"].rpartition("-")[2])
    if process is not None and addresses is None and "BYTEWAX_HOSTFILE_PATH" in os.environ:
        addresses = ";".join(Path(os.environ["BYTEWAX_HOSTFILE_PATH"]).read_text().split())
    return process or 0, len(addresses.split(";")) if addresses else 1
