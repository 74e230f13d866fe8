"""The command line.

Exit codes: 0 all completed (or left to the next run by an interrupt), 2 usage, 3 some assets failed or were rejected,
or nothing was found.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from dataflows.output import Output
from schemas.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

USAGE, NOT_ALL = 2, 3

Out = Annotated[Path, typer.Option("--out", help="Folder of everything that is made.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout, everything else on stderr.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose assets.")]
Kinds = Annotated[list[str] | None, typer.Option("--kind", help="Only this kind of asset; may be given again.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="The most results.")]
Assets = Annotated[list[str] | None, typer.Argument(help="Asset ids, or names of their files.")]
Asset = Annotated[str, typer.Argument(help="An asset id, or the name of its file.")]

OUT = Path("out")


def refuse(message: str) -> NoReturn:
    """Ends with the exit code for usage."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(USAGE)


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
    targets: Annotated[list[str], typer.Argument(metavar="PATH|URL…", help="Files, folders or http(s) URLs.")],
    out: Out = OUT,
    as_json: Json = False,
    pipeline: Annotated[str, typer.Option("--pipeline", help="A pipeline's name; `describe` lists them.")] = "default",
    tenant: Tenant = "default",
    follow: Annotated[bool, typer.Option("--follow", help="Keep watching the folders until interrupted.")] = False,
) -> None:
    """Takes media from upload to publication, and writes a report."""
    from dataflows import commands
    from dataflows.running import Busy

    settings = settings_of(out=out, pipeline=pipeline, tenant=tenant, follow=follow)
    try:
        ended(commands.run(settings, targets, Output(as_json)))
    except FileNotFoundError as error:
        refuse(f"there is no {error}")
    except (ValueError, Busy) as error:
        refuse(str(error))


@app.command()
def replay(assets: Assets = None, out: Out = OUT, as_json: Json = False, tenant: Tenant = "default") -> None:
    """Sends dead letters through again: of these assets, or all that are unresolved."""
    from dataflows import commands, queries
    from dataflows.running import Busy

    settings = settings_of(out=out, tenant=tenant)
    found = [asset_id(queries, settings, asset) for asset in assets or ()]
    try:
        ended(commands.replay(settings, found, Output(as_json)))
    except Busy as error:
        refuse(str(error))


def asset_id(queries: Any, settings: Settings, name: str) -> str:
    """The id that a person means by an id, the beginning of one, or a file's name."""
    found: list[str] = queries.named(settings, name)
    if len(found) != 1:
        refuse(f"{'no asset' if not found else 'more than one asset'} is named {name!r}; `status` lists them")
    return found[0]


@app.command()
def search(
    words: Annotated[str, typer.Argument(help="What to look for.")],
    out: Out = OUT,
    as_json: Json = False,
    tenant: Tenant = "default",
    kind: Kinds = None,
    limit: Limit = 10,
) -> None:
    """Finds assets, and moments in them, by words."""
    from dataflows import connections
    from dataflows import search as searching
    from schemas.routing import PROFILES

    settings = settings_of(out=out, tenant=tenant)
    index = connections.index_of(settings)
    hits = asyncio.run(searching.by_words(index, PROFILES["lite"], words, settings.tenant, kind or (), limit))
    show_hits(settings, hits, Output(as_json))


@app.command()
def similar(
    asset: Asset,
    out: Out = OUT,
    as_json: Json = False,
    tenant: Tenant = "default",
    kind: Kinds = None,
    limit: Limit = 10,
) -> None:
    """Finds assets that look or read like this one."""
    from dataflows import connections, queries
    from dataflows import search as searching
    from schemas.routing import PROFILES

    settings = settings_of(out=out, tenant=tenant)
    wanted, index = asset_id(queries, settings, asset), connections.index_of(settings)
    hits = asyncio.run(searching.like(index, PROFILES["lite"], wanted, settings.tenant, kind or (), limit))
    show_hits(settings, hits, Output(as_json))


def show_hits(settings: Settings, hits: list[Any], output: Output) -> None:
    """Results with their assets' names; exit code 3 for none."""
    from dataflows import queries

    names = queries.names(settings)
    rows = [{"asset": names.get(hit.asset_id, ""), **hit.model_dump(mode="json")} for hit in hits]
    output.rows(rows, ["score", "asset", "kind", "start_s", "page", "text"])
    ended(bool(hits))


@app.command()
def status(asset: Assets = None, out: Out = OUT, as_json: Json = False, tenant: Tenant = "default") -> None:
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
    out: Out = OUT,
    as_json: Json = False,
    tenant: Tenant = "default",
    form: Annotated[str, typer.Option("--format", help="tree, openlineage, mermaid or json.")] = "tree",
    descendants: Annotated[bool, typer.Option("--descendants", help="Assets made from this one, too.")] = False,
) -> None:
    """How every file of an asset came to be."""
    from dataflows import lineage as graphs
    from dataflows import queries

    settings = settings_of(out=out, tenant=tenant)
    if form not in graphs.FORMATS:
        refuse(f"no format {form!r}; there are {', '.join(graphs.FORMATS)}")
    wanted = asset_id(queries, settings, asset)
    graphs.show(settings, wanted, "json" if as_json and form == "tree" else form, descendants, Output(as_json))


@app.command()
def delete(asset: Asset, out: Out = OUT, as_json: Json = False, tenant: Tenant = "default") -> None:
    """Removes an asset wholly: objects that nobody shares, vectors, rows, publications; a tombstone stays."""
    from dataflows import maintenance, queries
    from dataflows.running import Busy, alone

    settings = settings_of(out=out, tenant=tenant)
    unfinished = asyncio.run(maintenance.is_unfinished(settings, asset))
    wanted = asset if unfinished else asset_id(queries, settings, asset)
    try:
        with alone(settings):
            Output(as_json).rows([asyncio.run(maintenance.delete(settings, wanted))], maintenance.DELETED)
    except Busy as error:
        refuse(str(error))


@app.command()
def verify(out: Out = OUT, as_json: Json = False) -> None:
    """Hashes every object again, and checks that all that manifests, tables and index name is there."""
    from dataflows import maintenance

    found = asyncio.run(maintenance.verify(settings_of(out=out)))
    Output(as_json).rows(found.rows(), maintenance.VERIFIED)
    ended(found.clean)


@app.command()
def describe(out: Out = OUT, as_json: Json = False) -> None:
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
