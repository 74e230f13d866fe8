"""How each asset of a run ended: its state, its steps with durations, variants and bytes."""

from __future__ import annotations

from collections.abc import Mapping

from dataflows import queries
from dataflows.report import Ending, EndingStep
from operators.stages.register import current_manifest
from schemas.events import StatusChanged
from schemas.fold import AssetState
from schemas.manifest import Manifest
from schemas.ports import ObjectStore
from schemas.settings import Settings

# the last event of each (asset, stage, step)
Told = Mapping[tuple[str, str, str], StatusChanged]
STAGES = ("ingest", "validate", "derive", "preview", "enrich", "register", "publish")


async def endings_of(
    settings: Settings, store: ObjectStore, names: Mapping[str, str], told: Told
) -> tuple[list[Ending], dict[str, Manifest]]:
    """The endings of these assets (id -> name) in order, and the manifests of those that are visible.

    `told` are the last events of the run itself: they say what it found instead of making it, which the tables, that
    keep the first time, do not.
    """
    states = queries.states(settings, list(names))
    rows = queries.last_rows(queries.rows(settings, "assets", list(names)))
    manifests: dict[str, Manifest] = {}
    endings = []
    for asset_id, name in names.items():
        manifest = await current_manifest(store, settings.tenant, asset_id)
        if manifest is not None:
            manifests[asset_id] = manifest
        state = states.get(asset_id, AssetState())
        kind = manifest.kind if manifest else (rows.get(asset_id) or {}).get("kind", "")
        steps = tuple(_step(told.get((asset_id, e.stage, e.step), e)) for e in sorted(state.steps, key=_order))
        endings.append(Ending(
            asset_id=asset_id, name=name, kind=kind, state=state.state, code=state.code, message=state.message,
            steps=steps, bytes=bytes_of(manifest),
        ))  # fmt: skip
    return endings, manifests


def _order(event: StatusChanged) -> tuple[int, int]:
    """By stage, then by when the step ended."""
    return STAGES.index(event.stage), event.at_ms


def _step(event: StatusChanged) -> EndingStep:
    fields = event.model_dump(include=set(EndingStep.model_fields))
    return EndingStep(**fields)


def bytes_of(manifest: Manifest | None) -> int:
    """Bytes of the original and of all variants."""
    return manifest.original.bytes + sum(v.bytes for v in manifest.variants) if manifest else 0


def as_row(ending: Ending, manifest: Manifest | None) -> dict[str, object]:
    """An ending as the table's and --json's row."""
    steps = [f"{s.step} {'found' if s.cached else s.code or f'{s.duration_s:.2f} s'}" for s in ending.steps]
    return {
        "asset": ending.name, "asset_id": ending.asset_id, "kind": ending.kind, "state": ending.state,
        "code": ending.code, "message": ending.message, "variants": len(manifest.variants) if manifest else 0,
        "bytes": ending.bytes, "steps": [s.model_dump(mode="json") for s in ending.steps], "took": ", ".join(steps),
    }  # fmt: skip
