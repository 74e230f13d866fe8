"""The commands about services: Kafka's topics and offsets, the Delta tables, and what the flow `usage` sums."""

from __future__ import annotations

from typing import Annotated

import typer

from dataflows.options import Flow, Json, Out, Tenant, ended, ms_since, refusing, settings_of, the_one
from dataflows.output import Output

topics_commands = typer.Typer(no_args_is_help=True, help="Kafka's topics.")
offsets_commands = typer.Typer(no_args_is_help=True, help="How far flows have come in their topics.")


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


def compact(out: Out = None, as_json: Json = False) -> None:
    """Joins the tables' small files, removes what is older than `vacuum_h`, and writes checkpoints; flows may run."""
    from dataflows import tables

    Output(as_json).rows(tables.maintain(settings_of(out=out)), tables.MAINTAINED)


def usage(
    asset: Annotated[str, typer.Argument(help="An asset id, or the name of its file; all assets without one.")] = "",
    out: Out = None,
    as_json: Json = False,
    tenant: Tenant = None,
    by: Annotated[str, typer.Option("--by", help="action, window or asset: what has a row of its own.")] = "action",
    since: Annotated[str, typer.Option("--since", help="Only windows from then on: a time (ISO 8601).")] = "",
) -> None:
    """How often assets were used, and what credit they got, by the flow `usage`: of a tenant, or of one asset."""
    from dataflows import usage_queries

    settings = settings_of(out=out, tenant=tenant)
    found = [the_one(usage_queries.ids_of(settings, asset), asset)] if asset else None
    since_ms = ms_since(since)
    with refusing(ValueError):
        rows = usage_queries.totals(settings, by, found, since_ms)
    Output(as_json).rows(rows, usage_queries.columns(by))
    ended(bool(rows))
