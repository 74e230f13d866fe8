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


class UsageEventRow(Model):
    """Table `usage_events`: every event of use once. `amount` is in minor units of `currency` (ISO 4217, "" for none).

    Its `row_id` begins with the event's time, `at_ms` since 1970.
    """

    row_id: str
    event_id: str
    source: str
    tenant: str
    asset_id: str
    action: str
    quantity: int
    amount: int
    currency: str
    derived_asset_id: str
    at_ms: int


class UsageAssetRow(Model):
    """Table `usage_assets`: what became of an asset in a window of event time, by action and currency.

    The window begins at `window_start_ms` since 1970 and lasts `window_s`. `events`, `quantity` and `amount` are of
    its own uses; `credit` (of quantity) and `credit_amount` (of amount) are its shares in uses of assets made from it
    (schemas.credit). Its `row_id` begins with the window's start.
    """

    row_id: str
    window_start_ms: int
    window_s: int
    tenant: str
    asset_id: str
    action: str
    currency: str
    events: int
    quantity: int
    amount: int
    credit: float
    credit_amount: float


class UsageTenantRow(Model):
    """Table `usage_tenants`: the same of all of a tenant's assets; `assets` is how many were used."""

    row_id: str
    window_start_ms: int
    window_s: int
    tenant: str
    action: str
    currency: str
    assets: int
    events: int
    quantity: int
    amount: int
    credit: float
    credit_amount: float


# what the stages write
TABLES: dict[str, type[Model]] = {
    "assets": AssetRow,
    "variants": VariantRow,
    "lineage": LineageRow,
    "steps": StepRow,
    "events": EventRow,
}
# what the flow `usage` writes
USAGE_TABLES: dict[str, type[Model]] = {
    "usage_events": UsageEventRow,
    "usage_assets": UsageAssetRow,
    "usage_tenants": UsageTenantRow,
}
