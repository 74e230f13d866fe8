"""What wiring hands to the stages: clients, pools and tables, none of which a stage opens by itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from operators.office import Office
from operators.pools import Pools
from schemas.asset import Source
from schemas.events import StatusChanged
from schemas.pipelines import Pipeline
from schemas.ports import Channel, ObjectStore, Parts, Spread, VectorIndex
from schemas.routing import Routing

Fetch = Callable[[Source, int], AsyncGenerator[bytes, None]]


async def _none(_source: Source, _limit: int) -> Parts | None:
    return None


@dataclass(frozen=True)
class Services:
    """Everything outside of a stage. `fetch` yields a source's bytes under the limit that it is given, `descriptor`
    opens it to be read where it is a local file, `parts` where it is a URL that is served by ranges.

    `sniffers` hold the model that tells content types, apart from `pools`, whose models may be busy for long. `spread`
    are other processes that render chunks, `office` is LibreOffice, None where there is none.
    """

    store: ObjectStore
    index: VectorIndex
    pools: Pools
    sniffers: Pools
    profiles: Mapping[str, Routing]
    channels: Mapping[str, Channel]
    pipelines: Mapping[str, Pipeline]
    fetch: Fetch
    scratch: Path
    clock_ms: Callable[[], int]
    office: Office | None = None
    descriptor: Callable[[Source], int | None] = lambda _source: None
    parts: Callable[[Source, int], Awaitable[Parts | None]] = _none
    on_event: Callable[[StatusChanged], None] = lambda _event: None
    spread: Spread | None = None
