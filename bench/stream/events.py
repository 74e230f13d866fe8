"""Events of a producer that differ in what real ones differ in, made fast enough to fill a topic."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from confluent_kafka import Producer

from schemas import topics
from schemas.asset import IngestRequest, Source
from schemas.cloudevents import encode_ingest
from schemas.events import IngestEvent
from schemas.ids import asset_id
from schemas.messages import Record
from schemas.settings import Settings
from schemas.topics import client_options, full_name, partition_of

TENANT = "bench"
_AT = datetime(2030, 1, 31, tzinfo=UTC)


def ingest_event(n: int) -> IngestEvent:
    """The n-th event."""
    number = f"{n:08d}"
    source = Source(uri=f"s3://uploads/2030/{number}.mp4", name=f"{number}.mp4", sha256=8 * number)
    request = IngestRequest(tenant=TENANT, source=source, idempotency_key=f"upload-{number}")
    return IngestEvent(id=f"event-{number}", source="bench", subject=request.asset_id, time=_AT, data=request)


def records(count: int) -> Iterator[Record]:
    """`encode_ingest` of the first so many events, by putting what differs into the first one's JSON."""
    first = encode_ingest(topics.INGEST.name, ingest_event(0))
    for n in range(count):
        number = f"{n:08d}"
        key = asset_id(TENANT, f"upload-{number}")
        value = first.value.replace(b"00000000", number.encode()).replace(first.key.encode(), key.encode())
        yield first._replace(key=key, value=value)


def fill(settings: Settings, count: int) -> None:
    """Writes the first so many events to the ingest topic."""
    name = full_name(settings, topics.INGEST)
    producer = Producer({**client_options(settings), "linger.ms": 20, "compression.type": "lz4"})
    for record in records(count):
        partition = partition_of(record.key, settings.partitions)
        while True:
            try:
                producer.produce(name, record.value, record.key, partition, headers=dict(record.headers))
                break
            except BufferError:
                producer.poll(0.1)
    if left := producer.flush(60):
        raise RuntimeError(f"{left} events were not delivered")
