"""The commands about a flow's processes in a Kubernetes cluster."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from dataflows.options import Flow, Json, failing, refusing, settings_of
from dataflows.output import Output

if TYPE_CHECKING:
    from dataflows.scaling import Deployment, Step

Context = Annotated[str, typer.Option("--context", help="kubectl's context; by default its current one.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="By default the context's.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="The most seconds for each wait.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def drain(
    flow: Flow,
    context: Context = "",
    namespace: Namespace = "",
    timeout: Timeout = 600.0,
    dry_run: Dry = False,
    as_json: Json = False,
) -> None:
    """Ends all of a flow's processes in good order; `rescale` starts them again. It can be run again."""
    from dataflows.scaling import Deployment

    with refusing(ValueError):
        deployment = Deployment(flow, context, namespace)
    _show(deployment, deployment.drain(), timeout, dry_run, Output(as_json))


def rescale(
    flow: Flow,
    processes: Annotated[int, typer.Argument(min=1, help="How many; at most as many as the topic has partitions.")],
    context: Context = "",
    namespace: Namespace = "",
    timeout: Timeout = 600.0,
    dry_run: Dry = False,
    as_json: Json = False,
) -> None:
    """Drains a flow's processes, and starts so many; where it was broken off it goes on when it is run again."""
    from dataflows import scaling

    with refusing(ValueError):
        deployment = scaling.Deployment(flow, context, namespace)
        with failing(RuntimeError):
            scaling.check(settings_of(), flow, processes)
    _show(deployment, deployment.rescale(processes), timeout, dry_run, Output(as_json))


def _show(deployment: Deployment, steps: Iterator[Step], timeout_s: float, dry: bool, output: Output) -> None:
    from dataflows.scaling import carried_out

    with failing(RuntimeError):
        for row in carried_out(deployment, steps, timeout_s, dry):
            output.line(row) if output.as_json else output.text("\n  ".join(filter(None, row.values())))
            sys.stdout.flush()
