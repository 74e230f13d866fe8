"""OpenLineage 2-0-2: the parts of it that are written here, and the facets of our own."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from schemas.base import Model

SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
FACETS = "https://openlineage.io/spec/facets"
OWN = "urn:asset-pipeline:schema"


class Facet(Model):
    """What every facet says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    producer: str = Field(alias="_producer")
    schema_url: str = Field(alias="_schemaURL")


class StepRunFacet(Facet):
    """Run facet `assetPipeline_step`: all that decided the step's result, and whether it was found, not computed.

    `measured` has what was measured and applied, such as loudness before and after.
    """

    stage: str
    step: str
    version: str
    params: dict[str, Any]
    resultId: str
    cached: bool
    durationSeconds: float
    measured: dict[str, Any] = {}
    code: str = ""


class FileDatasetFacet(Facet):
    """Dataset facet `assetPipeline_file`: a file by content. `sha256` in hexadecimal."""

    names: tuple[str, ...]
    sha256: str
    bytes: int
    mediaType: str
    role: str
    url: str = ""
    properties: dict[str, Any] = {}
