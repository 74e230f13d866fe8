"""The command line.

Exit codes: 0 all completed (or left to the next run by an interrupt), 2 usage, 3 some assets failed or were rejected,
or nothing was found.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from dataflows.keeping_commands import backup, gc, reindex, restore, verify
from dataflows.options import (
    Asset,
    Assets,
    Json,
    Kinds,
    Language,
    Limit,
    Out,
    PipelineName,
    Tags,
    Targets,
    Tenant,
    answer,
    ended,
    failing,
    ms_since,
    refuse,
    refusing,
    settings_of,
    the_one,
)
from dataflows.output import Output
from dataflows.scaling_commands import drain, rescale
from dataflows.service_commands import compact, offsets_commands, topics_commands, usage
from schemas.errors import CODES, AssetError
from schemas.ports import Filter
from schemas.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(topics_commands, name="topics")
app.add_typer(offsets_commands, name="offsets")
for command in (usage, compact, verify, reindex, gc, backup, restore, drain, rescale):
    app.command()(command)


@app.command()
def run(
    targets: Targets,
    out: Out = None,
    as_json: Json = False,
    pipeline: PipelineName = None,
    tenant: Tenant = None,
    follow: Annotated[bool, typer.Option("--follow", help="Keep watching the folders until interrupted.")] = False,
) -> None:
    """Takes media from upload to publication, and writes a report."""
    from dataflows import commands
    from dataflows.running import Busy

    settings = settings_of(out=out, pipeline=pipeline, tenant=tenant, follow=follow)
    if settings.events:
        refuse("`run` needs no server, but ASSET_PIPELINE_EVENTS names one: start the flows, and use `submit`")
    try:
        ended(commands.run(settings, targets, Output(as_json)))
    except FileNotFoundError as error:
        refuse(f"there is no {error}")
    except (ValueError, Busy) as error:
        refuse(str(error))


@app.command()
def submit(
    targets: Targets,
    out: Out = None,
    as_json: Json = False,
    pipeline: PipelineName = None,
    tenant: Tenant = None,
    key: Annotated[str, typer.Option("--idempotency-key", help="By default the file's hash and name.")] = "",
    title: Annotated[str, typer.Option("--title", help="The asset's title, by default its file's name.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until each asset has ended.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="The most seconds to wait.")] = math.inf,
) -> None:
    """Uploads media and sends events for them to the flows that run on Kafka."""
    from dataflows import following
    from dataflows.submit import is_url, submission_of
    from schemas.asset import Declared

    settings = settings_of(out=out, pipeline=pipeline, tenant=tenant)
    if not settings.events:
        refuse("set ASSET_PIPELINE_EVENTS to kafka://host:port, or use `run`, which needs no server")
    single = len(targets) == 1 and (is_url(targets[0]) or not Path(targets[0]).is_dir())
    if (key or title) and not single:
        refuse("--idempotency-key and --title are for a single file or URL")
    try:
        submission = submission_of(settings, key, declared=Declared(title=title))
        with failing(AssetError, RuntimeError):
            well = following.run(settings, targets, submission, Output(as_json), timeout if wait else 0.0)
    except FileNotFoundError as error:
        refuse(f"there is no {error}")
    except ValueError as error:
        refuse(str(error))
    ended(well)


@app.command()
def replay(
    assets: Assets = None,
    out: Out = None,
    as_json: Json = False,
    tenant: Tenant = None,
    code: Annotated[str, typer.Option("--code", help="Only what ended with this code.")] = "",
    since: Annotated[str, typer.Option("--since", help="Only what ended then or later: a time (ISO 8601).")] = "",
) -> None:
    """Sends dead letters through again: of these assets, or all that are unresolved."""
    from dataflows import commands, queries
    from dataflows.running import Busy

    settings = settings_of(out=out, tenant=tenant)
    if code and code not in CODES:
        refuse(f"there is no code {code!r}; `describe` lists them")
    since_ms = ms_since(since)
    found = [asset_id(queries, settings, asset) for asset in assets or ()]
    wanted = commands.Wanted(found, code, since_ms)
    with failing(*((AssetError, RuntimeError) if settings.events else ())), refusing(Busy):
        ended(commands.replay(settings, wanted, Output(as_json)))


def asset_id(queries: Any, settings: Settings, name: str) -> str:
    """The id that a person means by an id, the beginning of one, or a file's name."""
    return the_one(queries.named(settings, name), name)


@app.command()
def search(
    words: Annotated[str, typer.Argument(help="What to look for.")],
    out: Out = None,
    as_json: Json = False,
    tenant: Tenant = None,
    kind: Kinds = None,
    tag: Tags = None,
    language: Language = "",
    limit: Limit = 10,
) -> None:
    """Finds assets, and moments in them, by words."""
    from dataflows import search as searching

    settings, only = settings_of(out=out, tenant=tenant), filter_of(kind, tag, language)
    show_hits(settings, answer(searching.find(settings, words, only, limit)), Output(as_json))


@app.command()
def similar(
    asset: Asset,
    out: Out = None,
    as_json: Json = False,
    tenant: Tenant = None,
    kind: Kinds = None,
    tag: Tags = None,
    language: Language = "",
    limit: Limit = 10,
) -> None:
    """Finds assets that look or read like this one."""
    from dataflows import queries
    from dataflows import search as searching

    settings, only = settings_of(out=out, tenant=tenant), filter_of(kind, tag, language)
    wanted = asset_id(queries, settings, asset)
    show_hits(settings, answer(searching.find_similar(settings, wanted, only, limit)), Output(as_json))


def filter_of(kinds: list[str] | None, tags: list[str] | None, language: str) -> Filter:
    """What a search may find."""
    return Filter(kinds=tuple(kinds or ()), tags=tuple(tags or ()), language=language)


def show_hits(settings: Settings, hits: list[Any], output: Output) -> None:
    """Results with their assets' names; exit code 3 for none."""
    from dataflows import queries

    names = queries.names(settings)
    rows = [{"asset": names.get(hit.asset_id, ""), **hit.model_dump(mode="json")} for hit in hits]
    output.rows(rows, ["score", "asset", "kind", "start_s", "page", "text"])
    ended(bool(hits))


@app.command()
def status(
    asset: Assets = None,
    out: Out = None,
    as_json: Json = False,
    tenant: Tenant = None,
    watch: Annotated[bool, typer.Option("--watch", help="The last day's assets, until interrupted.")] = False,
) -> None:
    """The state of all assets, or the steps of one."""
    from dataflows import queries

    settings, output = settings_of(out=out, tenant=tenant), Output(as_json)
    if watch:
        from dataflows import watching

        with suppress(KeyboardInterrupt), failing(RuntimeError):
            watching.watch(settings, Console())
    elif asset:
        for name in asset:
            output.rows(queries.history(settings, asset_id(queries, settings, name)), queries.HISTORY)
    else:
        output.rows(queries.overview(settings), ["name", "kind", "state", "code", "asset_id", "message"])


@app.command()
def lineage(
    asset: Asset,
    out: Out = None,
    as_json: Json = False,
    tenant: Tenant = None,
    form: Annotated[str, typer.Option("--format", help="tree, openlineage, mermaid or json.")] = "tree",
    descendants: Annotated[bool, typer.Option("--descendants", help="Assets made from this one, too.")] = False,
    as_of: Annotated[str, typer.Option("--as-of", help="As it was: a time (ISO 8601), or a version.")] = "",
) -> None:
    """How every file of an asset came to be."""
    from dataflows import lineage as graphs
    from dataflows import queries, tables

    settings = settings_of(out=out, tenant=tenant)
    if form not in graphs.FORMATS:
        refuse(f"no format {form!r}; there are {', '.join(graphs.FORMATS)}")
    wanted, form = asset_id(queries, settings, asset), "json" if as_json and form == "tree" else form
    with refusing(ValueError):
        then = tables.moment(settings, as_of) if as_of else None
        ended(graphs.show(settings, wanted, form, descendants, Output(as_json), then))


@app.command()
def delete(asset: Asset, out: Out = None, as_json: Json = False, tenant: Tenant = None) -> None:
    """Removes an asset wholly: objects that nobody shares, vectors, rows, publications; a tombstone stays."""
    from dataflows import maintenance, queries
    from dataflows.running import Busy, alone

    settings = settings_of(out=out, tenant=tenant)
    unfinished = asyncio.run(maintenance.is_unfinished(settings, asset))
    wanted = asset if unfinished else asset_id(queries, settings, asset)
    try:
        with alone(settings.below()):
            Output(as_json).rows([asyncio.run(maintenance.delete(settings, wanted))], maintenance.DELETED)
    except Busy as error:
        refuse(str(error))


@app.command()
def doctor(out: Out = None, as_json: Json = False) -> None:
    """Looks at settings, services, models, disk and clock: what is wrong, and what to do about it."""
    from dataflows import doctor as examining

    rows = examining.examine(settings_of(out=out))
    Output(as_json).rows(rows, examining.FOUND)
    ended(all(row["state"] == "ok" for row in rows))


@app.command()
def describe(out: Out = None, as_json: Json = False) -> None:
    """The stages, settings, pipelines, models and codes."""
    from dataflows import describing

    describing.show(settings_of(out=out), Output(as_json))


def main() -> None:
    """The program. It ends without waiting for the interpreter's own tidying, which waits for worker processes."""
    code = 0
    try:
        app(standalone_mode=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
