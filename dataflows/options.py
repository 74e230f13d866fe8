"""What all commands share: their options, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError

from schemas.errors import AssetError
from schemas.settings import Settings
from schemas.times import time_of

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
Flow = Annotated[str, typer.Argument(help="ingest, derive, chunks, enrich, register, publish, usage or pipeline.")]

T = TypeVar("T")


def refuse(message: str) -> NoReturn:
    """Ends with the exit code for usage."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(USAGE)


def the_one(found: Sequence[str], name: str) -> str:
    """The id that a person means by a name, of those that it may mean."""
    if len(found) != 1:
        refuse(f"{'no asset' if not found else 'more than one asset'} is named {name!r}; `status` lists them")
    return found[0]


def ms_since(since: str) -> int:
    """A time that a person gives (ISO 8601), in ms since 1970; 0 for none."""
    with refusing(ValueError):
        return int(time_of(since).timestamp() * 1000) if since else 0


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


def answer(work: Coroutine[Any, Any, T]) -> T:
    """What the work returns; exit code 3, with a sentence, where a service is away."""
    with failing(AssetError):
        return asyncio.run(work)
