"""The commands about services: Kafka's topics and offsets, and the Delta tables."""

from __future__ import annotations

from typing import Annotated

import typer

from dataflows.options import Flow, Json, Out, ended, refusing, settings_of
from dataflows.output import Output

topics_commands = typer.Typer(no_args_is_help=True, help="Kafka's topics.")
offsets_commands = typer.Typer(no_args_is_help=True, help="How far flows have come in their topics.")
tables_commands = typer.Typer(no_args_is_help=True, help="The Delta tables.")


@topics_commands.command("apply")
def apply_topics(as_json: Json = False) -> None:
    """Creates the topics that are missing, and gives all of them the settings' retention; it can be run again."""
    from dataflows import topics

    with refusing(ValueError, RuntimeError):
        rows = topics.apply(settings_of())
    Output(as_json).rows(rows, topics.APPLIED)
    ended(all(row["state"] != "differs" for row in rows))


@offsets_commands.command("show")
def show_offsets(flow: Flow, as_json: Json = False) -> None:
    """What a flow has finished in each partition of the topic that it reads, and what is left."""
    from dataflows import topics

    with refusing(ValueError, RuntimeError):
        Output(as_json).rows(topics.offsets(settings_of(), flow), topics.OFFSETS)


@offsets_commands.command("reset")
def reset_offsets(
    flow: Flow,
    to: Annotated[str, typer.Option("--to", help="earliest, latest, or a time (ISO 8601).")],
    as_json: Json = False,
) -> None:
    """Has a flow begin elsewhere, forgetting what it had in hand: only while none of its processes runs."""
    from dataflows import topics

    with refusing(ValueError, RuntimeError):
        Output(as_json).rows(topics.reset(settings_of(), flow, to), topics.MOVED)


@tables_commands.command("maintain")
def maintain_tables(out: Out = None, as_json: Json = False) -> None:
    """Joins the tables' small files, removes what is older than `vacuum_h`, and writes checkpoints; flows may run."""
    from dataflows import tables

    Output(as_json).rows(tables.maintain(settings_of(out=out)), tables.MAINTAINED)
