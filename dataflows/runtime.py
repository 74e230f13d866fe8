"""What a process needs to run stages: pools first, then the loop's thread, then the clients of every service."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import FrameType

import operators.models
from dataflows.connections import channels_of, index_of, objects_of, policy_of
from dataflows.tombstones import Tombstones
from operators.attempts import now_ms
from operators.gate import Gate
from operators.loop import Loop
from operators.media.content_type import detect
from operators.pools import Lane, Models, Pools
from operators.stages.services import Services
from operators.stages.validate import DETECT_S
from schemas.asset import Source
from schemas.events import StatusChanged
from schemas.routing import PROFILES
from schemas.settings import Settings
from sources.fetch import open_source

# what tasks import, less what starts threads when it is imported (magika, onnxruntime): forks must not inherit them
PRELOAD = (
    "operators.media.audio",
    "operators.media.rendition",
    "operators.stages.validate_tasks",
    "operators.stages.video_tasks",
)


def pools_of(settings: Settings) -> Pools:
    """Lanes and model processes; models may read their weights beside the installed packages."""
    lanes = {"light": Lane(settings.light_workers), "heavy": Lane(settings.heavy_workers, nice=5)}
    temporary = settings.below("scratch", "models")
    temporary.mkdir(parents=True, exist_ok=True)
    weights = Path(operators.models.__file__).parent / "weights"
    models = Models(workers=settings.model_processes, nice=2, read=(weights,), scratch=temporary)
    return Pools(lanes, models, preload=PRELOAD, require_sandbox=settings.require_sandbox)


def sniffers_of(settings: Settings) -> Pools:
    """One process with the model for content types."""
    return Pools({}, Models(workers=1), preload=PRELOAD, require_sandbox=settings.require_sandbox)


class Runtime:
    """Everything that lives as long as a flow. A context manager; leaving it ends all processes and the loop."""

    def __init__(self, settings: Settings, on_event: Callable[[StatusChanged], None] | None = None) -> None:
        self.settings, self._on_event = settings, on_event or (lambda _event: None)
        self.gate, self.store = Gate(settings.unfinished), objects_of(settings)
        self.pools, self.sniffers, self.loop = pools_of(settings), sniffers_of(settings), Loop()

    def start(self) -> Runtime:
        """Starts pools before any thread exists, then the loop; what the first quick gate needs loads meanwhile."""
        self.pools.start()
        self.loop.start()
        self.loop.call(self._warm)
        self.services = self._services()
        self.tombstones = self.loop.run(Tombstones.load(self.store))
        return self

    def _services(self) -> Services:
        settings, policy = self.settings, policy_of(self.settings)

        def fetch(source: Source, limit: int) -> AsyncGenerator[bytes, None]:
            return open_source(source, limit, policy)

        return Services(
            store=self.store, index=index_of(settings), pools=self.pools, sniffers=self.sniffers, profiles=PROFILES,
            channels=channels_of(settings), pipelines=settings.pipelines(), fetch=fetch,
            scratch=settings.below("scratch"), clock_ms=now_ms, on_event=self._on_event,
        )  # fmt: skip

    def _warm(self) -> None:
        self._warming = asyncio.ensure_future(self.sniffers.call(detect, b"", timeout_s=DETECT_S))

    def close(self) -> None:
        """Ends what still runs."""
        self.loop.close()
        self.pools.close()
        self.sniffers.close()

    def __enter__(self) -> Runtime:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.close()

    def drain_on_signals(self) -> None:
        """SIGTERM and SIGINT stop the sources; pending work stays in the snapshot."""

        def drain(_number: int, _frame: FrameType | None) -> None:
            self.gate.drain()

        signal.signal(signal.SIGTERM, drain)
        signal.signal(signal.SIGINT, drain)
