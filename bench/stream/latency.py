"""From an event to the start of its first stage, in the flow `ingest` as it is run, at half of what it can take."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from statistics import median
from uuid import uuid4

import msgspec
import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition
from PIL import Image

from bench.stream.growth import p99
from bench.stream.rows import Row
from bench.stream.side import ROOT, environment_of
from dataflows.connections import objects_of
from schemas.asset import IngestRequest, ObjectKind, Source
from schemas.cloudevents import encode_ingest
from schemas.errors import State
from schemas.events import IngestEvent
from schemas.settings import Settings
from schemas.topics import INGEST, STATUS, client_options, full_name, partition_of

_PATIENCE_S = 300.0
_LOG = "ingest.log"
_WARM = 4
_ENDED = (State.COMPLETED, State.FAILED, State.REJECTED, State.DUPLICATE)
_decode = msgspec.json.decode


class _Told(msgspec.Struct):
    asset_id: str
    stage: str
    step: str
    state: State
    accepted_ms: int
    at_ms: int


class _Status(msgspec.Struct):
    data: _Told


def rows(settings: Settings, burst: int, seconds: float) -> list[Row]:
    """Small pictures, that are in the store already: a burst that tells the rate, then half of it for some seconds."""
    with _flow(settings) as flow:
        flow.through(_WARM, 0.0)
        told = flow.through(burst, 0.0)
        took_s = (max(t.at_ms for t in told) - min(t.accepted_ms for t in told)) / 1000
        rate = burst / took_s / 2
        told = flow.through(max(_WARM, int(rate * seconds)), rate)
    waited = [float(t.at_ms - t.accepted_ms) for t in told if t.stage == "ingest" and t.state == State.PROCESSING]
    measure = f"event to its first stage's start at {rate:.0f} assets/s, half load: ms"
    return [Row.figure(f"{measure}, p50", median(waited), 20), Row.figure(f"{measure}, p99", p99(waited), 100)]


@contextmanager
def _flow(settings: Settings) -> Iterator[_Flow]:
    """The flow as the README runs it."""
    store = settings.below("recovery")
    command = [sys.executable, "-m", "bytewax.run", "dataflows.ingest:flow", "-r", str(store), "-s", "1", "-b", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment_of(settings)}
    with settings.below(_LOG).open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log)
        try:
            yield _Flow(settings, process)
        finally:
            process.terminate()
            process.wait(60)


class _Flow:
    """A flow's process, and the topics on both sides of it."""

    def __init__(self, settings: Settings, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._settings, self._store, self._numbers = settings, objects_of(settings), count()
        self._producer = Producer({**client_options(settings), "linger.ms": 0})
        self._consumer = Consumer({**client_options(settings), "group.id": f"{settings.topic_prefix}.bench"})
        name = full_name(settings, STATUS)
        self._consumer.assign([TopicPartition(name, number, 0) for number in range(settings.partitions)])

    def through(self, assets: int, rate: float) -> list[_Told]:
        """Submits so many assets, at once or so many a second; what the stages say of them until all are validated."""
        sources = asyncio.run(self._uploaded([next(self._numbers) for _ in range(assets)]))
        sent = set()
        for source in sources:
            sent.add(self._send(source))
            time.sleep(1 / rate if rate else 0)
        return self._told(sent)

    async def _uploaded(self, numbers: Sequence[int]) -> list[Source]:
        return [await self._upload(number) for number in numbers]

    async def _upload(self, number: int) -> Source:
        pixels = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(png := io.BytesIO(), "PNG")
        await self._store.add_bytes(self._settings.tenant, png.getvalue(), "image/png", ObjectKind.ORIGINAL)
        return Source.of_object(sha256(png.getvalue()).hexdigest(), f"{number}.png")

    def _send(self, source: Source) -> str:
        request = IngestRequest(tenant=self._settings.tenant, source=source, idempotency_key=source.name)
        event = IngestEvent(id=uuid4().hex, source="bench", time=datetime.now(UTC), data=request)
        record = encode_ingest(INGEST.name, event)
        partition = partition_of(record.key, self._settings.partitions)
        self._producer.produce(
            full_name(self._settings, INGEST), record.value, record.key, partition, headers=dict(record.headers)
        )
        self._producer.poll(0)
        return request.asset_id

    def _told(self, assets: set[str]) -> list[_Told]:
        """The stages' events of these assets. Raises RuntimeError if one is not validated in the end."""
        found: list[_Told] = []
        left, until = set(assets), time.monotonic() + _PATIENCE_S
        while left:
            for message in self._consumer.consume(1000, 0.5):
                told = _decode(message.value() or b"", type=_Status).data
                if told.asset_id in assets and not told.step:
                    found.append(told)
                    if told.stage == "validate" and told.state in _ENDED:
                        left.discard(told.asset_id)
                if told.state in (State.FAILED, State.REJECTED):
                    raise RuntimeError(f"an asset was not validated: {told}")
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{len(left)} assets were not validated; the flow's log ends: {self._log()}")
        return found

    def _log(self) -> str:
        return self._settings.below(_LOG).read_text()[-2000:]
