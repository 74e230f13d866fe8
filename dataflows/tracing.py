"""OpenTelemetry: a trace an asset, made of its changes of state, told to a collector by OTLP over HTTP.

Every span's id follows from what it is about, so that the flows, which are processes of their own, agree on parents
without telling each other, and what is done again after a crash is the same span again. Times are the events' (ms).
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from schemas.errors import BAD, State
from schemas.events import StatusChanged
from schemas.fold import PARTS, is_end
from schemas.trace import Trace, trace_of

_REMEMBERED = 10_000
_CLOSE_MS = 5000
_MS = 1_000_000  # nanoseconds
Attributes = Mapping[str, AttributeValue]


class _Ids(IdGenerator):
    """The ids of the next span, which its maker knows."""

    trace_id = span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id


def span_id(*parts: str | int) -> int:
    """The id of the span about these."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8])


class Tracer:
    """Takes events as they happen, on one thread, and what sinks write, on theirs.

    Below the producer's span, or one of ours that is as long as the asset's way, there is a span for each stage, and
    below that one for each step, each message that hands the work on, and each table that got rows of it.
    """

    def __init__(self, endpoint: str, flow: str, process: int) -> None:
        """`endpoint` is the collector's base URL; its headers and certificates are OpenTelemetry's own settings."""
        about = {"service.name": f"asset-pipeline.{flow}", "service.instance.id": f"{flow}-{process}"}
        self._ids, self._lock = _Ids(), threading.Lock()
        self._provider = TracerProvider(resource=Resource.create(about), id_generator=self._ids, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("asset-pipeline")
        self._begun: dict[tuple[str, str], int] = {}
        self._known: OrderedDict[str, tuple[Trace, int]] = OrderedDict()

    def close(self) -> None:
        """Sends what is left, if the collector takes it soon."""
        self._provider.force_flush(_CLOSE_MS)
        self._provider.shutdown()

    def __call__(self, event: StatusChanged) -> None:
        """Takes an event of a stage or a step."""
        if not event.traceparent or event.stage == PARTS:  # whose spans would all have one id
            return
        about = trace_of(event.traceparent)
        stage = span_id(event.job_id, event.stage, event.generation)
        if event.step:
            self._step(event, about)
        elif event.state == State.PROCESSING:
            self._begun.setdefault((event.job_id, event.stage), event.at_ms)
            self._remember(event.asset_id, about, stage)
        elif event.state != State.PENDING:
            begun = self._begun.pop((event.job_id, event.stage), event.at_ms)
            self._span(event.stage, about, stage, about.span_id, begun, event.at_ms, event, SpanKind.CONSUMER)
            self._ended(event, about)

    def _step(self, event: StatusChanged, about: Trace) -> None:
        """Below the stage that the asset is in, which may run another's steps: derive makes previews."""
        _about, stage = self._known.get(event.asset_id, (about, about.span_id))
        if event.state in (State.COMPLETED, State.SKIPPED, *BAD):
            own = span_id(event.job_id, event.stage, event.step, event.generation)
            took_ms = 0 if event.cached else int(event.duration_s * 1000)
            self._span(event.step, about, own, stage, event.at_ms - took_ms, event.at_ms, event)

    def _ended(self, event: StatusChanged, about: Trace) -> None:
        """The whole of the asset's way, where no producer's span is that."""
        if is_end(event) and about.ours:
            self._span("asset", about, about.span_id, 0, event.accepted_ms or event.at_ms, event.at_ms, event)

    def handed_on(self, topic: str, asset_ids: Iterable[str]) -> None:
        """Messages about these assets are on their way to a topic."""
        now, more = time.time_ns() // _MS, {"messaging.system": "kafka", "messaging.destination.name": topic}
        for asset_id in asset_ids:
            self._below(asset_id, f"send {topic}", now, now, more, SpanKind.PRODUCER)

    def appended(self, table: str, asset_ids: Iterable[str], seconds: float) -> None:
        """Rows of these assets are in a table by now."""
        now, more = time.time_ns() // _MS, {"db.system.name": "delta", "db.collection.name": table}
        for asset_id in asset_ids:
            self._below(asset_id, f"append {table}", now - int(seconds * 1000), now, more, SpanKind.CLIENT)

    def _below(self, asset_id: str, name: str, begun: int, ended: int, more: Attributes, kind: SpanKind) -> None:
        if known := self._known.get(asset_id):
            about, stage = known
            self._tell(name, about, span_id(stage, name, ended), stage, begun, ended, more, kind)

    def _remember(self, asset_id: str, about: Trace, stage: int) -> None:
        self._known[asset_id] = about, stage
        self._known.move_to_end(asset_id)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _span(
        self, name: str, about: Trace, own: int, parent: int, begun: int, ended: int, event: StatusChanged,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:  # fmt: skip
        more: dict[str, AttributeValue] = {
            "asset.id": event.asset_id, "asset.job": event.job_id, "asset.state": event.state,
            "asset.attempt": event.attempt, "asset.cached": event.cached,
        }  # fmt: skip
        if event.code:
            more["error.type" if event.state in BAD else "asset.note"] = event.code
        self._tell(name, about, own, parent, begun, ended, more, kind, event.state in BAD)

    def _tell(
        self, name: str, about: Trace, own: int, parent: int, begun: int, ended: int, more: Attributes,
        kind: SpanKind, bad: bool = False,
    ) -> None:  # fmt: skip
        flags = TraceFlags(TraceFlags.SAMPLED if about.sampled else TraceFlags.DEFAULT)
        above = NonRecordingSpan(SpanContext(about.trace_id, parent, is_remote=True, trace_flags=flags))
        context = trace.set_span_in_context(above) if parent else None
        with self._lock:
            self._ids.trace_id, self._ids.span_id = about.trace_id, own
            span = self._tracer.start_span(name, context, kind, more, start_time=begun * _MS)
        if bad:
            span.set_status(StatusCode.ERROR)
        span.end(max(begun, ended) * _MS)
