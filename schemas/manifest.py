"""The manifest: all that is known of an asset at one version. Written last; it makes the asset visible."""

from __future__ import annotations

from typing import Any, Literal

from schemas.asset import IngestRecord, Kind, Output, Ref, StepResult
from schemas.base import Model
from schemas.ids import digest
from schemas.technical import Technical


class Metadata(Model):
    """What people and searches see: declared, else read from the file, else derived."""

    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    language: str = ""


class Variant(Output):
    """A derived file with its stable URL and the step's result that made it."""

    url: str
    result_id: str


class Edge(Model):
    """One lineage edge: `source` and `target` are "sha256:…", "asset:…" or a channel's URL."""

    source: str
    target: str
    target_name: str = ""
    stage: str
    step: str
    version: str
    params: dict[str, Any] = {}
    result_id: str = ""


class Manifest(Model):
    """The manifest, numbered per asset from 1."""

    format: Literal["asset-pipeline/manifest/1"] = "asset-pipeline/manifest/1"
    version: int
    asset_id: str
    job_id: str
    tenant: str
    kind: Kind
    record: IngestRecord
    pipeline: str
    original: Ref
    original_url: str
    metadata: Metadata
    technical: Technical
    variants: tuple[Variant, ...]
    steps: tuple[StepResult, ...]
    lineage: tuple[Edge, ...]
    index: dict[str, tuple[str, ...]] = {}

    @property
    def content_digest(self) -> str:
        """Equal for equal content, whatever the version number, and the trace in which it was made."""
        return digest(self.model_dump(mode="json", exclude={"version": True, "record": {"traceparent"}}))

    def variant(self, name: str) -> Variant | None:
        """The variant of this name."""
        return next((v for v in self.variants if v.name == name), None)
