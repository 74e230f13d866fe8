"""Events admitted with their claims, against the same number of create-if-absent puts by obstore alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import obstore

from bench.stream.events import records
from bench.stream.rows import Row
from dataflows.connections import account_of
from dataflows.runtime import Runtime
from operators.stages.ingest import accept
from operators.stages.services import Services
from schemas.settings import Settings
from schemas.structs import Received, received
from sinks.s3_bucket import Bucket

AT_ONCE = 32
_PUTS = 2  # an event's claim and its job
_BYTES = 300  # of which a claim has about as many

Tasks = Iterable[Callable[[], Awaitable[None]]]


def rows(settings: Settings, count: int, rounds: int) -> list[Row]:
    """Puts a second, each round with so many events that nobody has seen."""
    events = [received(record.value) for record in records(count * (rounds + 1))]
    ours, theirs = [], []
    with Runtime(settings, "register", None) as runtime:  # a flow without pools
        for number in range(rounds + 1):
            batch = events[number * count : (number + 1) * count]
            ours.append(runtime.loop.run(_rate(_admissions(runtime.services, batch))))
            theirs.append(runtime.loop.run(_rate(_puts(settings, batch))))
    # the first round opens connections
    return [Row.of("claims: puts of admitted events/s, against raw puts", ours[1:], theirs[1:], 0.85)]


def _admissions(services: Services, events: Iterable[Received]) -> Tasks:
    pipeline = services.pipelines["default"]

    async def admit(event: Received) -> None:
        _record, first = await accept(services, event.event(), pipeline)
        if not first:
            raise RuntimeError(f"{event.event_id} was there already")

    return [partial(admit, event) for event in events]


def _puts(settings: Settings, events: Iterable[Received]) -> Tasks:
    store = Bucket(settings.objects, account_of(settings)).records()

    async def put(event: Received) -> None:
        asset = event.asset_id
        for key in (f"raw-claims/{event.tenant}/{asset}.json", f"raw-jobs/{event.tenant}/{asset}/{asset}.json"):
            await obstore.put_async(store, key, bytes(_BYTES), mode="create", use_multipart=False)

    return [partial(put, event) for event in events]


async def _rate(tasks: Tasks) -> float:
    """Puts a second, with so many of the tasks at once."""
    waiting, started = iter(tasks), time.perf_counter()

    async def worker() -> int:
        done = 0
        for task in waiting:
            await task()
            done += _PUTS
        return done

    done = sum(await asyncio.gather(*(worker() for _ in range(AT_ONCE))))
    return done / (time.perf_counter() - started)
