"""Rows of the Delta tables. `row_id` is deterministic, so that a row seen again is known; JSON columns are text."""

from __future__ import annotations

from schemas.base import Model


class AssetRow(Model):
    """Table `assets`: one row for each manifest version, and for each job that ended without one."""

    row_id: str
    asset_id: str
    job_id: str
    tenant: str
    owner: str
    organisation: str
    project: str
    kind: str
    state: str
    code: str
    message: str
    generation: int
    manifest_version: int
    title: str
    description: str
    tags: list[str]
    labels: list[str]
    language: str
    source: str
    media_type: str
    sha256: str
    bytes: int
    duration_s: float | None
    width: int | None
    height: int | None
    pages: int | None
    technical: str
    consent: str
    parents: list[str]
    pipeline: str
    accepted_ms: int


class VariantRow(Model):
    """Table `variants`: one row for each file of a manifest version."""

    row_id: str
    asset_id: str
    job_id: str
    tenant: str
    manifest_version: int
    name: str
    role: str
    url: str
    sha256: str
    bytes: int
    media_type: str
    properties: str
    result_id: str


class LineageRow(Model):
    """Table `lineage`: one edge from an input (object or asset) over a step to an output."""

    row_id: str
    asset_id: str
    job_id: str
    tenant: str
    source: str
    target: str
    target_name: str
    stage: str
    step: str
    version: str
    params: str
    result_id: str


class StepRow(Model):
    """Table `steps`: one row for each step of a job."""

    row_id: str
    asset_id: str
    job_id: str
    tenant: str
    stage: str
    step: str
    version: str
    state: str
    code: str
    message: str
    result_id: str
    cached: bool
    duration_s: float
    outputs: int
    bytes: int
    values: str


class EventRow(Model):
    """Table `events`: every status change, publication, notification and dead letter, as its data's JSON."""

    row_id: str
    event_id: str
    type: str
    asset_id: str
    job_id: str
    tenant: str
    stage: str
    step: str
    state: str
    code: str
    message: str
    generation: int
    attempt: int
    sequence: int
    at_ms: int
    data: str


TABLES: dict[str, type[Model]] = {
    "assets": AssetRow,
    "variants": VariantRow,
    "lineage": LineageRow,
    "steps": StepRow,
    "events": EventRow,
}
