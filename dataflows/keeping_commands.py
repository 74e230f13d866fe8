"""The commands that keep in order what there is: `verify`, `reindex`, `gc`, `backup` and `restore`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from dataflows.options import Json, Out, answer, ended, failing, refusing, settings_of
from dataflows.output import Output

HOUR_S = 3600.0


def verify(out: Out = None, as_json: Json = False) -> None:
    """Hashes every object again, and checks that all that manifests, tables and index name is there."""
    from dataflows import maintenance

    found = asyncio.run(maintenance.verify(settings_of(out=out)))
    Output(as_json).rows(found.rows(), maintenance.VERIFIED)
    ended(found.clean)


def reindex(out: Out = None, as_json: Json = False) -> None:
    """Builds the search index anew from the lineage, and puts it in the old one's place once it is whole."""
    from dataflows import reindexing
    from dataflows.running import Busy

    with refusing(Busy):
        done = answer(reindexing.reindex(settings_of(out=out)))
    Output(as_json).rows([done], reindexing.REINDEXED)
    ended(not done["left_out"])


def gc(
    out: Out = None,
    as_json: Json = False,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without this it only says what it would do.")] = False,
    older_than: Annotated[
        float, typer.Option("--older-than", min=0, help="Hours; by default, and at least, the longest deadline.")
    ] = 0.0,
) -> None:
    """Moves objects that nothing references to the trash, and removes what has lain there for long; flows may run."""
    from dataflows import collecting

    with failing(RuntimeError), refusing(ValueError):
        rows = answer(collecting.collect(settings_of(out=out), apply, older_than * HOUR_S))
    output = Output(as_json)
    output.rows(rows, collecting.COLLECTED)
    if not apply:
        output.notes.print("nothing was changed; `gc --apply` does it", style="dim", highlight=False)


def backup(
    destination: Annotated[str, typer.Argument(help="A folder, or s3://bucket/prefix of the settings' account.")],
    out: Out = None,
    as_json: Json = False,
    objects: Annotated[bool, typer.Option("--objects", help="Objects too; those that are there stay there.")] = False,
) -> None:
    """Keeps tables and records, under a name of its own at the destination; flows may run."""
    from deltalake.exceptions import DeltaError

    from dataflows import backups

    settings = settings_of(out=out)
    with failing(RuntimeError, OSError, DeltaError), refusing(ValueError):
        rows, damaged = answer(backups.back_up(settings, destination, objects))
    output = Output(as_json)
    output.rows(rows, backups.BACKED_UP)
    for name in damaged:
        output.notes.print(f"left out, for its bytes are not those that its name stands for: {name}", highlight=False)
    ended(not damaged)


def restore(
    source: Annotated[str, typer.Argument(help="A backup: its folder, or its s3:// address.")],
    out: Out = None,
    as_json: Json = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the backup only, and say what would be done.")
    ] = False,
) -> None:
    """Brings a backup into a place that has no assets, while no flow runs."""
    from contextlib import nullcontext

    from deltalake.exceptions import DeltaError

    from dataflows import restoring
    from dataflows.running import Busy, alone

    settings = settings_of(out=out)
    held = nullcontext() if dry_run else alone(settings.below())
    with failing(RuntimeError, OSError, DeltaError), refusing(ValueError, Busy), held:
        rows, about = answer(restoring.restore(settings, source, dry_run))
    output = Output(as_json)
    output.rows(rows, restoring.RESTORED)
    for command in restoring.next_steps(settings, about):
        output.notes.print(f"next: {command}", highlight=False, soft_wrap=True)
    ended(dry_run or all(row["in_backup"] == row["deleted"] + row["restored"] for row in rows))
