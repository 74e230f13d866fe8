"""Rows for the tables, each with its deterministic id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas import ids
from schemas.asset import Work
from schemas.base import Model, canonical_json
from schemas.errors import CODES, State
from schemas.events import DEAD_LETTER as DEAD_LETTER_TYPE
from schemas.events import (
    NOTIFICATION,
    PUBLICATION,
    STATUS,
    DeadLetter,
    Notification,
    Publication,
    StatusChanged,
)
from schemas.manifest import Edge, Manifest
from schemas.tables import AssetRow, EventRow, LineageRow, StepRow, VariantRow

Row = tuple[str, dict[str, Any]]


def _text(value: Any) -> str:
    return canonical_json(value).decode()


def variant_rows(manifest: Manifest) -> list[Row]:
    """One row for each file of the manifest."""
    record = manifest.record
    return [
        ("variants", VariantRow(
            row_id=ids.row_id(record.accepted_ms, "variants", manifest.asset_id, manifest.version, v.name),
            asset_id=manifest.asset_id, job_id=manifest.job_id, tenant=manifest.tenant,
            manifest_version=manifest.version, name=v.name, role=v.role, url=v.url, sha256=v.sha256, bytes=v.bytes,
            media_type=v.media_type, properties=_text(v.properties), result_id=v.result_id,
        ).model_dump())
        for v in manifest.variants
    ]  # fmt: skip


def lineage_rows(manifest: Manifest, edges: Sequence[Edge] | None = None) -> list[Row]:
    """One row for each edge; of the manifest's own edges unless others are given."""
    record = manifest.record
    return [
        ("lineage", LineageRow(
            row_id=ids.row_id(record.accepted_ms, "lineage", manifest.job_id, e),
            asset_id=manifest.asset_id, job_id=manifest.job_id, tenant=manifest.tenant,
            params=_text(e.params), **e.model_dump(exclude={"params"}),
        ).model_dump())
        for e in (manifest.lineage if edges is None else edges)
    ]  # fmt: skip


def step_rows(work: Work) -> list[Row]:
    """One row for each step of the job."""
    return [("steps", _step_row(work, run.result.model_dump(), run.cached)) for run in work.steps]


def _step_row(work: Work, result: dict[str, Any], cached: bool) -> dict[str, Any]:
    record = work.record
    unique = (record.job_id, record.request.generation, result["stage"], result["step"], result["result_id"])
    return StepRow(
        row_id=ids.row_id(record.accepted_ms, "steps", *unique),
        asset_id=work.asset_id, job_id=record.job_id, tenant=work.tenant, cached=cached,
        message=CODES[result["code"]].sentence if result["code"] else "",
        bytes=sum(o["bytes"] for o in result["outputs"]), outputs=len(result["outputs"]),
        values=_text(result["values"]),
        **{k: result[k] for k in ("stage", "step", "version", "state", "code", "result_id", "duration_s")},
    ).model_dump()  # fmt: skip


def asset_row(work: Work, state: State, code: str = "", message: str = "", manifest: Manifest | None = None) -> Row:
    """The row of an asset's end: of a manifest version, or of a job that ended without one."""
    request, record, technical = work.record.request, work.record, work.technical
    metadata = manifest.metadata if manifest else None
    declared = request.declared
    picture = (technical.video or technical.image) if technical else None
    version = manifest.version if manifest else 0
    return "assets", AssetRow(
        row_id=ids.row_id(record.accepted_ms, "assets", record.job_id, request.generation, version, state),
        asset_id=work.asset_id, job_id=record.job_id, tenant=work.tenant, owner=request.owner,
        organisation=request.organisation, project=request.project, kind=work.kind or "", state=state, code=code,
        message=message, generation=request.generation, manifest_version=version,
        title=metadata.title if metadata else declared.title,
        description=metadata.description if metadata else declared.description,
        tags=list(metadata.tags if metadata else declared.tags), labels=list(metadata.labels if metadata else ()),
        language=metadata.language if metadata else declared.language, source=request.source.uri,
        media_type=work.original.media_type if work.original else "",
        sha256=work.original.sha256 if work.original else "", bytes=work.original.bytes if work.original else 0,
        duration_s=technical.duration if technical else None,
        width=picture.width if picture else None, height=picture.height if picture else None,
        pages=technical.document.pages if technical and technical.document else None,
        technical=_text(technical) if technical else "", consent=_text(request.consent),
        parents=list(request.parents), pipeline=work.pipeline.fingerprint, accepted_ms=record.accepted_ms,
    ).model_dump()  # fmt: skip


_COLUMNS = tuple(EventRow.model_fields)
_EMPTY: dict[str, Any] = {
    **dict.fromkeys(("job_id", "stage", "step", "state", "code", "message"), ""),
    **dict.fromkeys(("generation", "attempt", "sequence", "at_ms"), 0),
}


def _event(kind: str, accepted_ms: int, data: Model, **columns: Any) -> Row:
    fields = vars(data)
    shared = {name: fields[name] for name in _COLUMNS if name in fields}
    known = _EMPTY | shared | columns
    unique = ids.row_id(accepted_ms, "events", kind, known["event_id"])
    return "events", vars(EventRow(**known, row_id=unique, type=kind, data=data.model_dump_json()))


def status_row(event: StatusChanged) -> Row:
    """The row of a status change."""
    return _event(STATUS, event.accepted_ms, event)


def publication_row(publication: Publication, accepted_ms: int) -> Row:
    """The row of a channel's receipt."""
    return _event(PUBLICATION, accepted_ms, publication, stage="publish", step=publication.channel)


def notification_row(notification: Notification, accepted_ms: int) -> Row:
    """The row of what the owner is told."""
    return _event(NOTIFICATION, accepted_ms, notification)


def dead_letter_row(letter: DeadLetter) -> Row:
    """The row of a dead letter, without its tracebacks."""
    brief = letter.model_copy(update={"attempts": ()})
    return _event(
        DEAD_LETTER_TYPE, letter.accepted_ms, brief, event_id=letter.dead_letter_id, attempt=len(letter.attempts)
    )
