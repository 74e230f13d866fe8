"""What a changed parameter would redo: the asset runs again, in a scratch folder that has all its recorded results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import polars as pl

from dataflows import ownership, queries
from dataflows.connections import objects_of
from dataflows.library import Library, waited
from operators.stages.steps import result_key
from schemas.asset import Kind, StepResult
from schemas.manifest import Manifest
from schemas.pipelines import Pipeline
from schemas.settings import Settings

FLOW = (sys.executable, "-m", "bytewax.run", "dataflows.pipeline:flow", "-s", "1")
COLUMNS = ("stage", "step", "state", "cached", "duration_s", "bytes", "result_id", "was")


def rehearse(library: Library, name: str, changes: Mapping[str, Any]) -> pl.DataFrame:
    """The asset's steps under its pipeline with these changes ("image.quality": 60), in order, each found or redone.

    `was` is the result id that the step has now. Nothing of the library changes. Raises KeyError for an asset without
    a manifest, ValueError for a parameter that is none, RuntimeError where the run does not complete.
    """
    manifest = library.manifest(name)
    pipeline = _parameters(library.settings, manifest.record.request.pipeline, changes)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source" / (Path(manifest.record.request.source.name).name or "asset")
        source.parent.mkdir()
        source.write_bytes(library.read(manifest.original.sha256))
        settings = Settings(out=Path(scratch) / "out", tenant=manifest.tenant, objects="", tables="", events="")
        waited(_lent(library, manifest, settings))
        _run(settings, source, pipeline)
        rows = queries.rows(settings, "steps")
    if not rows:
        raise RuntimeError(f"{name!r} did not complete under {dict(changes)}")
    before = {(step.stage, step.step): step.result_id for step in manifest.steps}
    return pl.DataFrame([row | {"was": before.get((row["stage"], row["step"]), "")} for row in rows]).select(COLUMNS)


def _parameters(settings: Settings, name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of the pipeline, with the changes, which name them by dots."""
    found = settings.pipelines().get(name, Pipeline()).model_dump(mode="json", exclude={"name"})
    known = dict(_flat(found))
    if unknown := sorted(set(changes) - set(known)):
        raise ValueError(f"no parameter {', '.join(unknown)}; there are {', '.join(known)}")
    for dotted, value in changes.items():
        *groups, parameter = dotted.split(".")
        reduce(getitem, groups, found)[parameter] = value
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


async def _lent(library: Library, manifest: Manifest, settings: Settings) -> None:
    """Copies the asset's results and their objects; a video's chunks are found by the original they were made of."""
    store, tenant = objects_of(settings), manifest.tenant
    results = list(manifest.steps)
    if manifest.kind == Kind.VIDEO:
        results += [r for r in await ownership.results_of(library.store, tenant) if _is_chunk(r, manifest)]
    for result in results:
        for output in result.outputs:
            await store.add_bytes(tenant, await library.store.read(tenant, output.sha256), output.media_type)
        await store.create(result_key(tenant, result.result_id), result.model_dump_json().encode())


def _is_chunk(result: StepResult, manifest: Manifest) -> bool:
    return result.step.startswith("chunk-") and result.inputs == (manifest.original.sha256,)


def _run(settings: Settings, source: Path, pipeline: Mapping[str, Any]) -> None:
    """Runs the embedded flow; nothing that this process's environment says of services reaches it."""
    file = settings.out.with_name("pipelines.json")
    file.write_text(json.dumps({"default": pipeline}))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASSET_PIPELINE_")}
    given = {"OUT": str(settings.out), "INPUT": json.dumps([str(source)]), "PIPELINES_FILE": str(file)}
    given["TENANT"] = settings.tenant
    environment = kept | {f"ASSET_PIPELINE_{name}": value for name, value in given.items()}
    # in a folder without packages, since the engine looks for the flow from the working folder on
    done = subprocess.run(FLOW, cwd=source.parent, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the run ended with {done.returncode}: {done.stderr[-2000:]}")
