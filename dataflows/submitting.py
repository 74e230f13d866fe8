"""The producer to Kafka: bytes go into the object store first, then the event that names them to the ingest topic.

Each call makes submissions of its own, under event ids of their own. An asset that is there already is not made again:
its submission ends as a duplicate, or, where it ended in a dead letter, is its replay. So a call that broke off is
simply made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import uuid4

from dataflows.connections import objects_of
from dataflows.fates import told_before
from dataflows.submit import as_next_try, events_of
from operators.stages.ingest import UNKNOWN_TYPE, limit_of, original_key
from schemas.asset import IngestRequest, ObjectKind, Source
from schemas.cloudevents import encode_ingest
from schemas.errors import AssetError, State
from schemas.events import IngestEvent
from schemas.fold import fold_asset
from schemas.settings import Settings
from schemas.topics import INGEST
from sinks.blocks import in_order
from sinks.kafka import KafkaWriter, delivering
from sources.fetch import FetchPolicy, open_source
from sources.folder import Submission

SOURCE = "asset-pipeline/submit"
UPLOADS_AT_ONCE = 2


class Request(NamedTuple):
    """An event that was sent, or that was not, and why."""

    event: IngestEvent
    refused: AssetError | None = None


def send(settings: Settings, events: Iterable[IngestEvent]) -> None:
    """Sends events as they are, and returns once they are delivered. Raises RuntimeError."""
    with delivering(settings, [INGEST]) as writer:
        writer.write(encode_ingest(INGEST.name, event) for event in events)


def submit(
    settings: Settings, targets: Sequence[str], submission: Submission, on_request: Callable[[Request], None]
) -> list[Request]:
    """Submits files, folders and URLs, and returns once all is uploaded and delivered.

    A file that cannot be read or is too large is refused. Raises FileNotFoundError before anything is sent; then
    RuntimeError if Kafka is away, store_unavailable if the store is: some may have been sent by then.
    """
    found = events_of(settings, targets, submission)
    with delivering(settings, [INGEST]) as writer:
        return asyncio.run(_submitted(_Uploader(settings, submission), found, writer, on_request))


async def _submitted(
    uploader: _Uploader, found: Iterator[IngestEvent], writer: KafkaWriter, on_request: Callable[[Request], None]
) -> list[Request]:
    requests = []
    async for request in in_order(_jobs(uploader, found), UPLOADS_AT_ONCE):
        if not request.refused:
            writer.write([encode_ingest(INGEST.name, request.event)])
        on_request(request)
        requests.append(request)
    return requests


async def _jobs(uploader: _Uploader, found: Iterator[IngestEvent]) -> AsyncIterator[Coroutine[Any, Any, Request]]:
    # hashing a file takes a while, and asking for a URL has a loop of its own
    while event := await asyncio.to_thread(next, found, None):
        yield uploader.request(event)


class _Uploader:
    def __init__(self, settings: Settings, submission: Submission) -> None:
        self._settings, self._store = settings, objects_of(settings)
        self._limit, self._sidecar_limit = limit_of(submission.pipeline), submission.pipeline.limits.sidecar_bytes

    async def request(self, found: IngestEvent) -> Request:
        """The event to be sent, its file being in the store."""
        try:
            event = await self._uploaded(found)
            again = await as_next_try(self._store, event)
            if again is event or await self._is_completed(event.data.asset_id):
                again = event.model_copy(update={"id": str(uuid4()), "source": SOURCE, "time": datetime.now(UTC)})
            return Request(again)
        except AssetError as error:
            if error.outage:
                raise
            return Request(found, error)

    async def _uploaded(self, event: IngestEvent) -> IngestEvent:
        request = event.data
        source = await self._stored(request, request.source, self._limit)
        sidecars = tuple([await self._stored(request, one, self._sidecar_limit) for one in request.sidecars])
        return event.model_copy(update={"data": request.model_copy(update={"source": source, "sidecars": sidecars})})

    async def _stored(self, request: IngestRequest, source: Source, limit: int) -> Source:
        tenant = request.tenant
        if not source.uri.startswith("file:"):
            return source
        if source.sha256:
            # from now on neither a deletion nor another asset's policy takes the object
            await self._store.create(original_key(tenant, source.sha256, request.asset_id), b"{}")
        if not source.sha256 or not await self._store.exists(tenant, source.sha256):
            await self._upload(tenant, source, limit)
        return Source.of_object(source.sha256, source.name)

    async def _upload(self, tenant: str, source: Source, limit: int) -> None:
        async with aclosing(open_source(source, limit, FetchPolicy())) as chunks:
            kept = await self._store.add_stream(tenant, chunks, UNKNOWN_TYPE, limit, ObjectKind.ORIGINAL)
        if kept.sha256 != source.sha256:
            raise AssetError("source_changed", source.name)

    async def _is_completed(self, asset: str) -> bool:
        told = await told_before(self._settings, self._store, [asset])
        return fold_asset(told[asset]).state == State.COMPLETED
