"""What an asset is on its way through the stages: the ingest record, step results, and the work in hand."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from pydantic import Field

from schemas import ids
from schemas.base import Model
from schemas.errors import State
from schemas.pipelines import Pipeline
from schemas.technical import Technical


class Kind(StrEnum):
    """The kinds of asset."""

    VIDEO = "video"
    AUDIO = "audio"
    IMAGE = "image"
    DOCUMENT = "document"
    TEMPLATE = "template"


class ObjectKind(StrEnum):
    """What a stored file is for; decides its storage class and which lifecycle rules a bucket has for it."""

    ORIGINAL = "original"
    RENDITION = "rendition"
    PREVIEW = "preview"

    @classmethod
    def of(cls, role: str) -> ObjectKind:
        """Of a step's output by its role. Parts and models' inputs are kept as the renditions that they end in."""
        return cls.PREVIEW if role in _PREVIEWS else cls.ORIGINAL if role == "original" else cls.RENDITION


_PREVIEWS = frozenset({"poster", "preview", "storyboard", "storyboard-map", "waveform"})
_STORED = re.compile(r"object:sha256:([0-9a-f]{64})(/.*)?")


class Source(Model):
    """Where the bytes come from.

    `uri` is an http(s) URL, or `object:sha256:<digest in hex>/<file name>` of an object that lies in the tenant's store
    already. Embedded it may be a file: URL, too; `root` is the folder that such a file must lie in.
    """

    uri: str = Field(max_length=16384)
    name: str = Field(max_length=1024)
    root: str = ""
    sha256: str = ""
    validator: str = ""

    @classmethod
    def of_object(cls, sha256: str, name: str) -> Source:
        """An object that lies in the tenant's store."""
        return cls(uri=f"object:sha256:{sha256}/{quote(name, safe='')}", name=name, sha256=sha256)

    @property
    def stored(self) -> str:
        """The digest of the object in the tenant's store that the source is, or ""."""
        found = _STORED.fullmatch(self.uri)
        return found[1] if found else ""

    @property
    def identity(self) -> str:
        """The content's digest where it is known, else the address with its validator (ETag or Last-Modified)."""
        known = self.sha256 or self.stored
        return f"sha256:{known}" if known else f"{self.uri}#{self.validator}"


class Declared(Model):
    """What the producer says of the asset."""

    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    language: str = ""
    media_type: str = ""


class Consent(Model):
    """What the owner allows."""

    enrich: bool = True
    faces: bool = False
    search: bool = True
    publish: bool = True
    train: bool = False


class IngestRequest(Model):
    """One submission of an asset: the data of an ingest event.

    `sidecars` are files that say something of the source: subtitles, XMP. A subtitle's name may end in its language,
    and "forced" or "sdh", before the extension: "clip.pt-BR.forced.srt".
    """

    tenant: str = Field(default="default", pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    owner: str = "local"
    organisation: str = ""
    project: str = ""
    source: Source
    sidecars: tuple[Source, ...] = Field(default=(), max_length=64)
    idempotency_key: str = Field(min_length=1, max_length=1024)
    declared: Declared = Declared()
    consent: Consent = Consent()
    parents: tuple[str, ...] = ()
    pipeline: str = "default"
    replay_of: str = ""
    generation: int = Field(default=0, ge=0, lt=2**31)

    @property
    def asset_id(self) -> str:
        """A function of tenant and idempotency key."""
        return ids.asset_id(self.tenant, self.idempotency_key)

    @property
    def payload_digest(self) -> str:
        """Decides whether a second submission under the same key is the same asset."""
        return ids.digest(self.source.identity, self.declared, *(sidecar.identity for sidecar in self.sidecars))


class Ref(Model):
    """An object in the store, by content."""

    sha256: str
    bytes: int
    media_type: str


class Output(Ref):
    """One file that a step made. `role` groups names: rendition, poster, storyboard, waveform, captions, …"""

    name: str
    role: str
    properties: dict[str, Any] = {}


class StepResult(Model):
    """The record under a result id; the first one stands. `values` are small facts, files are `outputs`."""

    result_id: str
    stage: str
    step: str
    version: str
    params: dict[str, Any] = {}
    inputs: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    values: dict[str, Any] = {}
    state: State = State.COMPLETED
    code: str = ""
    duration_s: float = 0.0

    def output(self, name: str) -> Output | None:
        """The output of this name, if the step made it."""
        return next((o for o in self.outputs if o.name == name), None)


class StepRun(Model):
    """A step of one job: its result, whether it was found instead of computed, and when it ended (ms since 1970)."""

    result: StepResult
    cached: bool = False
    at_ms: int = 0


class IngestRecord(Model):
    """An accepted submission; `accepted_ms` is the time of the first acceptance, in ms since 1970."""

    asset_id: str
    job_id: str
    event_id: str
    accepted_ms: int
    traceparent: str = ""
    request: IngestRequest


class Work(Model):
    """What flows between stages: references and metadata, never bytes."""

    record: IngestRecord
    pipeline: Pipeline
    original: Ref | None = None
    kind: Kind | None = None
    technical: Technical | None = None
    manifest_version: int = 0
    steps: tuple[StepRun, ...] = ()

    @property
    def asset_id(self) -> str:
        """The asset's id."""
        return self.record.asset_id

    @property
    def tenant(self) -> str:
        """The asset's tenant."""
        return self.record.request.tenant

    @property
    def sidecars(self) -> tuple[tuple[str, Output], ...]:
        """The files that came beside the original: (name, object), in the order of the request."""
        found = ((sidecar.name, self.output(f"sidecar-{i}")) for i, sidecar in enumerate(self.record.request.sidecars))
        return tuple((name, output) for name, output in found if output)

    def with_steps(self, *runs: StepRun, **changes: Any) -> Work:
        """A copy with these steps added (a step of the same name is replaced) and these fields changed."""
        names = {(r.result.stage, r.result.step) for r in runs}
        kept = tuple(r for r in self.steps if (r.result.stage, r.result.step) not in names)
        return self.model_copy(update={"steps": kept + runs, **changes})

    def step(self, name: str) -> StepResult | None:
        """The result of the step of this name ("stage.step")."""
        return next((r.result for r in self.steps if f"{r.result.stage}.{r.result.step}" == name), None)

    def output(self, name: str) -> Output | None:
        """The first output of this name among all steps."""
        return next((o for r in self.steps for o in r.result.outputs if o.name == name), None)
