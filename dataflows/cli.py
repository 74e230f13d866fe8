"""The command line.

Exit codes: 0 all completed (or left to the next run by an interrupt), 2 usage, 3 some assets failed or were rejected,
or nothing was found.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError

from dataflows.output import Output
from schemas.errors import AssetError
from schemas.ports import Filter
from schemas.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

USAGE, NOT_ALL = 2, 3

Out = Annotated[Path | None, typer.Option("--out", help="Folder of everything that is made; `out` by default.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout, everything else on stderr.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Whose assets.")]
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="Only this kind of asset; may be given again.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Only with this tag or label; with all that are given.")]
Language = Annotated[str, typer.Option("--language", help="Only in this language, such as en.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="The most results.")]
Assets = Annotated[list[str] | None, typer.Argument(help="Asset ids, or names of their files.")]
Asset = Annotated[str, typer.Argument(help="An asset id, or the name of its file.")]
Targets = Annotated[list[str], typer.Argument(metavar="PATH|URL…", help="Files, folders or http(s) URLs.")]
PipelineName = Annotated[str | None, typer.Option("--pipeline", help="A pipeline's name; `describe` lists them.")]
Flow = Annotated[str, typer.Argument(help="ingest, derive, enrich, register, publish or pipeline.")]

T = TypeVar("T")


def refuse(message: str) -> NoReturn:
    """Ends with the exit code for usage."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(USAGE)


@contextmanager
def refusing(*errors: type[Exception]) -> Iterator[None]:
    """Ends with the exit code for usage, and the error's text, where one of these is raised."""
    try:
        yield
    except errors as error:
        refuse(str(error))


@contextmanager
def failing(*errors: type[Exception]) -> Iterator[None]:
    """Ends with exit code 3, and the error's text, where one of these is raised: a service is away, say."""
    try:
        yield
    except typer.Exit:  # which is a RuntimeError
        raise
    except errors as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(NOT_ALL) from error


def settings_of(**given: Any) -> Settings:
    """Settings from the environment, with what the command line gives."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        refuse(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}")


def ended(fine: bool) -> None:
    """Exit code 3 unless all is fine."""
    if not fine:
        raise typer.Exit(NOT_ALL)


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
def replay(assets: Assets = None, out: Out = None, as_json: Json = False, tenant: Tenant = None) -> None:
    """Sends dead letters through again: of these assets, or all that are unresolved."""
    from dataflows import commands, queries
    from dataflows.running import Busy

    settings = settings_of(out=out, tenant=tenant)
    found = [asset_id(queries, settings, asset) for asset in assets or ()]
    with failing(*((AssetError, RuntimeError) if settings.events else ())), refusing(Busy):
        ended(commands.replay(settings, found, Output(as_json)))


def asset_id(queries: Any, settings: Settings, name: str) -> str:
    """The id that a person means by an id, the beginning of one, or a file's name."""
    found: list[str] = queries.named(settings, name)
    if len(found) != 1:
        refuse(f"{'no asset' if not found else 'more than one asset'} is named {name!r}; `status` lists them")
    return found[0]


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


def answer(work: Coroutine[Any, Any, T]) -> T:
    """What the work returns; exit code 3, with a sentence, where a service is away."""
    with failing(AssetError):
        return asyncio.run(work)


def show_hits(settings: Settings, hits: list[Any], output: Output) -> None:
    """Results with their assets' names; exit code 3 for none."""
    from dataflows import queries

    names = queries.names(settings)
    rows = [{"asset": names.get(hit.asset_id, ""), **hit.model_dump(mode="json")} for hit in hits]
    output.rows(rows, ["score", "asset", "kind", "start_s", "page", "text"])
    ended(bool(hits))


@app.command()
def status(asset: Assets = None, out: Out = None, as_json: Json = False, tenant: Tenant = None) -> None:
    """The state of all assets, or the steps of one."""
    from dataflows import queries

    settings, output = settings_of(out=out, tenant=tenant), Output(as_json)
    if asset:
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
def verify(out: Out = None, as_json: Json = False) -> None:
    """Hashes every object again, and checks that all that manifests, tables and index name is there."""
    from dataflows import maintenance

    found = asyncio.run(maintenance.verify(settings_of(out=out)))
    Output(as_json).rows(found.rows(), maintenance.VERIFIED)
    ended(found.clean)


@app.command()
def reindex(out: Out = None, as_json: Json = False) -> None:
    """Builds the search index anew from the lineage, and puts it in the old one's place once it is whole."""
    from dataflows import reindexing
    from dataflows.running import Busy

    try:
        done = answer(reindexing.reindex(settings_of(out=out)))
    except Busy as error:
        refuse(str(error))
    Output(as_json).rows([done], reindexing.REINDEXED)
    ended(not done["left_out"])


topics_commands = typer.Typer(no_args_is_help=True, help="Kafka's topics.")
offsets_commands = typer.Typer(no_args_is_help=True, help="How far flows have come in their topics.")
tables_commands = typer.Typer(no_args_is_help=True, help="The Delta tables.")
app.add_typer(tables_commands, name="tables")
app.add_typer(topics_commands, name="topics")
app.add_typer(offsets_commands, name="offsets")


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
