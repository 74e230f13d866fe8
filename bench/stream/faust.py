"""The same work in Faust: state in RocksDB with a changelog, at least once. Run in the rivals' environment."""

from __future__ import annotations

import asyncio

import faust

from bench.stream.side import Given, Meter, main
from bench.stream.work import record, told
from schemas.cloudevents import decode_ingest
from schemas.messages import Message
from schemas.settings import Settings
from schemas.topics import INGEST, STATUS, client_options, full_name


def run(settings: Settings, given: Given, meter: Meter) -> None:
    """Ends once all that came in is written; the app itself is left running, since it takes long to end."""
    asyncio.new_event_loop().run_until_complete(_run(settings, given, meter))


async def _run(settings: Settings, given: Given, meter: Meter) -> None:
    done = asyncio.Event()
    app = _app(settings, given)
    submitted = app.topic(full_name(settings, INGEST), value_serializer="raw")
    status = app.topic(full_name(settings, STATUS), value_serializer="raw")
    seen = app.Table("seen", partitions=settings.partitions)

    @app.agent(submitted)
    async def begin(stream: faust.Stream[bytes]) -> None:
        async for found in stream.events():
            over = meter.passed(1)
            message = found.message
            event = decode_ingest(
                Message(message.topic, message.partition, message.offset, message.key, found.value, found.headers)
            )
            if event.event_id not in seen:
                seen[event.event_id] = True
                made = record(told(event))
                await status.send(key=made.key, value=made.value, headers=dict(made.headers))
            if over:
                break
        done.set()

    await app.start()
    await done.wait()
    await app.producer.flush()


def _app(settings: Settings, given: Given) -> faust.App:
    return faust.App(
        f"{settings.topic_prefix}.faust", broker=f"kafka://{client_options(settings)['bootstrap.servers']}",
        store="rocksdb://", datadir=given["store"], broker_commit_interval=given["epoch_s"], web_enabled=False,
        topic_partitions=settings.partitions, topic_disable_leader=True, consumer_auto_offset_reset="earliest",
        producer_acks=-1, producer_linger=0.005, producer_compression_type="lz4",
    )  # fmt: skip


if __name__ == "__main__":
    main(run)
