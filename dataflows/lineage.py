"""How every file of an asset came to be: the graph of its steps, from the manifest or, without one, from its events."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from rich.console import Console

from dataflows import lineage_forms as forms
from dataflows import openlineage, ownership, queries
from dataflows.connections import objects_of
from dataflows.lineage_graph import Graph, Publication, Ran, Relative, build
from dataflows.output import Output
from operators.stages.ingest import JobClaim
from operators.stages.register import current_manifest, manifest_prefix
from operators.stages.steps import result_key
from schemas.asset import StepResult
from schemas.events import StatusChanged
from schemas.fold import fold, fold_asset
from schemas.manifest import Manifest
from schemas.ports import ObjectStore
from schemas.settings import Settings

FORMATS = ("tree", "openlineage", "mermaid", "json")


def show(
    settings: Settings, asset_id: str, form: str, descendants: bool, output: Output, as_of: datetime | None = None
) -> bool:
    """Prints an asset's lineage in one of FORMATS; whether there is any.

    `descendants` adds the assets that were made from it; `as_of` shows it as it was then. Raises ValueError where the
    tables do not reach back to it.
    """
    graph = asyncio.run(graph_of(settings, objects_of(settings), asset_id, descendants, as_of))
    if form == "openlineage":
        for event in openlineage.events_of(graph):
            output.line(event)
    elif form == "json":
        output.line(forms.as_json(graph))
    elif form == "mermaid":
        text = forms.mermaid(graph)
        output.line({"format": form, "text": text}) if output.as_json else output.text(text)
    else:
        Console(width=None if sys.stdout.isatty() else forms.WIDE).print(forms.tree(graph))
    return bool(graph.runs)


async def graph_of(
    settings: Settings, store: ObjectStore, asset_id: str, descendants: bool = False, as_of: datetime | None = None
) -> Graph:
    """The asset's graph. An asset that is not in the tables yet is taken from its manifest alone."""
    manifest = await manifest_of(settings, store, asset_id, as_of)
    # rows of before a job was accepted are of no step of a manifest
    times = await accepted(store, settings.tenant, asset_id) if manifest else []
    events = queries.events(settings, [asset_id], accepted=times, as_of=as_of)
    runs = from_manifest(manifest, events) if manifest else await from_events(store, settings.tenant, events)
    request = manifest.record.request if manifest else None
    row = known_of(settings, [asset_id], as_of).get(asset_id, {})
    parents = request.parents if request else row.get("parents", ())
    table = known_of(settings, None if descendants else [asset_id, *parents], as_of)
    return build(
        asset=_relative(asset_id, table, request.source.name if request else ""),
        tenant=settings.tenant,
        job_id=manifest.job_id if manifest else row.get("job_id", ""),
        source=request.source.uri if request else row.get("source", ""),
        accepted_ms=manifest.record.accepted_ms if manifest else row.get("accepted_ms", 0),
        runs=runs,
        urls={v.sha256: v.url for v in manifest.variants} if manifest else {},
        publications=publications(settings, asset_id, events, times, as_of),
        parents=[_relative(p, table) for p in parents],
        children=_descendants(asset_id, table) if descendants else [],
    )


async def manifest_of(settings: Settings, store: ObjectStore, asset_id: str, as_of: datetime | None) -> Manifest | None:
    """The manifest that is current, or was the last one in the tables then."""
    if as_of is None:
        return await current_manifest(store, settings.tenant, asset_id)
    rows = queries.rows(settings, "assets", [asset_id], columns=["manifest_version"], as_of=as_of)
    version = max((row["manifest_version"] for row in rows), default=0)
    data = await store.get(f"{manifest_prefix(settings.tenant, asset_id)}{version:08d}.json")
    return Manifest.model_validate_json(data) if data else None


def known_of(
    settings: Settings, asset_ids: Collection[str] | None, as_of: datetime | None
) -> dict[str, dict[str, Any]]:
    """What the table says of these assets, or of all, as far as a graph shows it."""
    columns = ["asset_id", "job_id", "kind", "source", "parents", *queries.RANK]
    found = queries.rows(settings, "assets", asset_ids, columns=columns, as_of=as_of, tenant=settings.tenant)
    return queries.last_rows(found)


async def accepted(store: ObjectStore, tenant: str, asset_id: str) -> list[int]:
    """When the asset's jobs were accepted, in ms since 1970."""
    found = ownership.records(store, f"jobs/{tenant}/{asset_id}/")
    return [JobClaim.model_validate_json(data).accepted_ms async for _key, data in found]


def from_manifest(manifest: Manifest, events: Iterable[StatusChanged]) -> list[Ran]:
    """The manifest's steps, with what its job's events say of how they were run."""
    said = {(e.stage, e.step): e for e in fold(e for e in events if e.job_id == manifest.job_id).steps}
    return [_ran(result, said.get((result.stage, result.step))) for result in manifest.steps]


async def from_events(store: ObjectStore, tenant: str, events: Sequence[StatusChanged]) -> list[Ran]:
    """The steps of an asset that never became visible, and the stage that ended it."""
    state = fold_asset(events)
    runs = [_ran(await _result(store, tenant, event), event) for event in state.steps]
    if state.code:
        end = [e for e in events if not e.step and (e.stage, e.code) == (state.stage, state.code)]
        runs.append(_ran(_unrecorded(max(end, key=lambda e: (e.generation, e.attempt, e.sequence))), end[-1]))
    return sorted(runs, key=lambda r: r.at_ms)


async def _result(store: ObjectStore, tenant: str, event: StatusChanged) -> StepResult:
    data = await store.get(result_key(tenant, event.result_id)) if event.result_id else None
    return StepResult.model_validate_json(data) if data else _unrecorded(event)


def _unrecorded(event: StatusChanged) -> StepResult:
    """A step or stage that recorded nothing: skipped, or failed."""
    return StepResult(
        result_id=event.result_id, stage=event.stage, step=event.step, version="", state=event.state, code=event.code,
        duration_s=event.duration_s,
    )  # fmt: skip


def _ran(result: StepResult, event: StatusChanged | None) -> Ran:
    if event is None:
        return Ran(result=result)
    return Ran(result=result, cached=event.cached, at_ms=event.at_ms, message=event.message)


def publications(
    settings: Settings, asset_id: str, events: Iterable[StatusChanged], accepted: Sequence[int], as_of: datetime | None
) -> list[Publication]:
    """The receipts that the lineage table has, in order."""
    times = {(e.step, e.message): e.at_ms for e in events if e.stage == "publish" and e.step}
    rows = queries.rows(settings, "lineage", [asset_id], accepted=accepted, as_of=as_of, stage="publish")
    return [
        Publication(
            channel=row["step"], version=row["version"], name=row["target_name"], url=row["target"],
            at_ms=times.get((row["step"], row["target"]), 0), params=json.loads(row["params"]),
        )
        for row in sorted(rows, key=lambda r: (r["step"], r["target_name"], r["row_id"]))
    ]  # fmt: skip


def _relative(asset_id: str, table: dict[str, dict[str, Any]], name: str = "") -> Relative:
    row = table.get(asset_id, {})
    found = name or unquote(row.get("source", "").rpartition("/")[2]) or asset_id
    return Relative(
        asset_id=asset_id, name=found, kind=row.get("kind", ""), state=row.get("state", ""),
        parents=tuple(row.get("parents", ())),
    )  # fmt: skip


def _descendants(asset_id: str, table: dict[str, dict[str, Any]]) -> list[Relative]:
    """All assets that name this one as a parent, or one of those; each once, however they are tied."""
    found: dict[str, None] = {asset_id: None}
    for name in found_while_growing(found):
        found |= dict.fromkeys(a for a, row in table.items() if name in row["parents"])
    return [_relative(a, table) for a in found if a != asset_id]


def found_while_growing(found: dict[str, None]) -> Iterable[str]:
    """Each name once, those too that are added meanwhile."""
    done: set[str] = set()
    while waiting := [name for name in found if name not in done]:
        done.add(waiting[0])
        yield waiting[0]
