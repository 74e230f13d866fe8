"""What a process needs to run stages: pools first, then the loop's thread, then the clients of every service."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

import operators.models
from dataflows import recovery
from dataflows.cluster import CLUSTERED
from dataflows.connections import channels_of, index_of, objects_of, policy_of, table_options, table_uri
from dataflows.meter import Meter
from dataflows.spreading import Spreading
from dataflows.tombstones import Tombstones
from operators.attempts import now_ms
from operators.gate import Gate, GatedSource, gated
from operators.loop import Loop
from operators.office import Office
from operators.pools import Lane, Models, Pools
from operators.stages.services import Services
from schemas.asset import Work
from schemas.events import StatusChanged
from schemas.messages import Message, Record
from schemas.outcome import Failed
from schemas.routing import PROFILES
from schemas.settings import Settings
from schemas.topics import Topic, full_name
from sinks.delta import DeltaSink
from sinks.kafka import KafkaSink
from sources.fetch import descriptor_of, open_source, parts_of
from sources.inbox import InboxSource
from sources.kafka import KafkaFeed, feeds
from sources.kafka_admin import KafkaAdmin
from sources.live import LiveSource
from sources.pulled import PulledSource
from sources.watermark import Watermark

if TYPE_CHECKING:
    from dataflows.tracing import Tracer

# what tasks import, less what starts threads when it is imported (magika, onnxruntime): forks must not inherit them
PRELOAD = (
    "operators.media.audio",
    "operators.media.rendition",
    "operators.stages.first_tasks",
    "operators.stages.validate_tasks",
    "operators.stages.video_tasks",
)
# flows that run no task in a process of its own, and flows with the quick gate, which needs a model at once
WITHOUT_TASKS = frozenset({"register", "publish", "usage"})
# flows that have long videos' chunks rendered by the flow `chunks`
SPREADING = frozenset({"derive"})
WITH_GATE = frozenset({"pipeline", "ingest"})
TICK_S = 1.0


def pools_of(settings: Settings, scratch: Path) -> Pools:
    """Lanes and model processes; models may read their weights beside the installed packages."""
    lanes = {
        "first": Lane(1),
        "light": Lane(settings.light_workers),
        "heavy": Lane(settings.heavy_workers, nice=10),
    }
    temporary = scratch / "models"
    temporary.mkdir(parents=True, exist_ok=True)
    weights = Path(operators.models.__file__).parent / "weights"
    models = Models(workers=settings.model_processes, nice=2, read=(weights,), scratch=temporary)
    return Pools(lanes, models, preload=PRELOAD, require_sandbox=settings.require_sandbox)


def sniffers_of(settings: Settings) -> Pools:
    """One process with the model for content types."""
    return Pools({}, Models(workers=1), preload=PRELOAD, require_sandbox=settings.require_sandbox)


class Runtime:
    """Everything that lives as long as a flow. A context manager; leaving it ends all processes and the loop."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        recovery: Path | None,
        on_event: Callable[[StatusChanged], None] | None = None,
    ) -> None:
        """`recovery` is the folder of the flow's recovery store, None for a run without one."""
        self.settings, self.name, self._recovery = settings, name, recovery
        self._listeners: list[Callable[[StatusChanged], None]] = [Meter(settings.metrics_by_tenant)]
        self._listeners += [on_event] if on_event else []
        self._tracer: Tracer | None = None
        self._told: list[Callable[[], None]] = []  # what ends those that are told of the work
        self.on_failed: Callable[[Failed[Any]], None] = lambda _failed: None
        self.folder = settings.process_folder(name)
        self.scratch = self.folder / "scratch"
        self.gate, self.store = Gate(settings.unfinished), objects_of(settings)
        self.pools, self.sniffers, self.loop = pools_of(settings, self.scratch), sniffers_of(settings), Loop()
        self.feeds: list[KafkaFeed] = []
        self._watermarks: dict[tuple[str, int], Watermark] = {}
        self.tables: dict[str, DeltaSink] = {}
        self.spreading: Spreading | None = None

    def start(self) -> Runtime:
        """Starts pools before any thread exists, then the loop; what the first quick gate needs loads meanwhile."""
        if self.name not in WITHOUT_TASKS:
            self.pools.start()
        self.loop.start()
        self.loop.call(self._tick)
        if self.settings.events and self.name in SPREADING:
            self.spreading = Spreading(self.settings, self._waiting)
        if self.settings.otlp:
            self._trace()
        if self.settings.sentry_dsn.get_secret_value():
            self._tell_failures()
        if self.name in WITH_GATE:
            self.loop.call(self._warm)
        self.services = self._services()
        live = Tombstones(live=self.store)
        self.tombstones = live if self.settings.events else self.loop.run(Tombstones.load(self.store))
        return self

    def _services(self) -> Services:
        settings, policy = self.settings, policy_of(self.settings)
        return Services(
            store=self.store, index=index_of(settings), pools=self.pools, sniffers=self.sniffers, profiles=PROFILES,
            channels=channels_of(settings), pipelines=settings.pipelines(), fetch=partial(open_source, policy=policy),
            descriptor=partial(descriptor_of, policy=policy), parts=partial(parts_of, policy=policy),
            scratch=self.scratch, clock_ms=now_ms, on_event=self._on_event, office=Office.installed(settings.office),
            spread=self.spreading,
        )  # fmt: skip

    def _on_event(self, event: StatusChanged) -> None:
        for listener in self._listeners:
            listener(event)

    def _trace(self) -> None:
        from dataflows.tracing import Tracer

        self._tracer = Tracer(self.settings.otlp, self.name, self.settings.process)
        self._listeners.append(self._tracer)
        self._told.append(self._tracer.close)

    def _tell_failures(self) -> None:
        from dataflows import failures

        failures.start(self.settings.sentry_dsn.get_secret_value(), self.name, self.settings.process)
        self.on_failed = failures.tell
        self._told.append(failures.close)

    def _tick(self) -> None:
        """Says, on the loop's thread, that it turns."""
        self.gate.pulse.loop_beat()
        asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _warm(self) -> None:
        from operators.stages.validate import DETECT_S, detect

        self._warming = asyncio.ensure_future(self.sniffers.call(detect, b"", timeout_s=DETECT_S))

    def close(self) -> None:
        """Ends what still runs."""
        self.loop.close()
        for close in self._told:
            close()
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

    def inbox(self) -> GatedSource:
        """The embedded log of submissions."""
        self._recovered(())
        return gated(InboxSource(self.settings.below("inbox", "ingest.jsonl"), follow=self.settings.follow), self.gate)

    def topic(self, topic: Topic) -> PulledSource:
        """This process's partitions of a topic, read on behalf of the flow. Raises RuntimeError if it has none."""
        settings, name = self.settings, full_name(self.settings, topic)
        committed = KafkaAdmin(settings).committed(topic, self.name)
        store = self._recovered(c.store for number, c in committed.items() if settings.reads(number))
        found = feeds(settings, topic, self.name, store)
        marks = {part: Watermark(self._unfinished, self.gate.watch()) for part in found}
        self._watermarks |= {(name, int(part)): mark for part, mark in marks.items()}
        return PulledSource({part: partial(self._fed, make) for part, make in found.items()}, self.gate, marks)

    def live(self, topic: Topic) -> LiveSource:
        """The same from now on, nothing that was written before. The gate does not hold it back."""
        ends = {f"{number:04d}": end for number, end in KafkaAdmin(self.settings).end_offsets(topic).items()}
        found = feeds(self.settings, topic, self.name)
        return LiveSource({part: partial(self._fed, make) for part, make in found.items()}, ends, self.gate)

    def _waiting(self) -> None:
        """What waits for a broker need not be waited for once the process drains."""
        if self.gate.draining:
            raise RuntimeError("the process drains")

    def _fed(self, make: Callable[[], KafkaFeed]) -> KafkaFeed:
        self.feeds.append(feed := make())
        return feed

    def _recovered(self, stores: Iterable[str]) -> str:
        return recovery.ready(self._recovery, self.settings.process, self.settings.processes, stores)

    def _unfinished(self) -> set[str]:
        if self.name in CLUSTERED:
            return set()  # what is in hand is of the epoch that is open: one ends only once all of it is in the tables
        return self.gate.holds().union(*(table.waiting() for table in self.tables.values()))

    def hold(self, read: Iterable[tuple[Message, str]]) -> None:
        """Messages, in order, count as unfinished until the assets are that each is about."""
        for place, held in groupby(read, key=lambda pair: pair[0][:2]):
            if mark := self._watermarks.get(place):
                mark.hold([(message.offset, key) for message, key in held])

    def table(self, name: str, schema: pa.Schema, wanted: Callable[[pa.Table], pa.Table] | None = None) -> DeltaSink:
        """The sink of a table, which leaves out the rows of deleted assets: a snapshot may hold some too."""
        settings = self.settings
        sink = DeltaSink(
            table_uri(settings, name), schema, table_options(settings), patience_s=settings.patience,
            wanted=wanted or (lambda rows: self.loop.run(self.tombstones.living(rows))),
            appended=partial(self._appended, name),
            meanwhile=self.gate.pulse.beat if self.name in CLUSTERED else None,
        )  # fmt: skip
        self.tables[name] = sink
        return sink

    def _appended(self, table: str, rows: pa.Table, seconds: float) -> None:
        if self._tracer:
            self._tracer.appended(table, rows["asset_id"].unique().to_pylist(), seconds)

    def handed_on(self, topic: Topic, works: Sequence[Work]) -> None:
        """Work is about to be written to a topic."""
        if self._tracer:
            self._tracer.handed_on(topic.name, (work.asset_id for work in works))

    def sink(self, topics: Sequence[Topic], encode: Callable[[list[Any]], Iterable[Record]]) -> KafkaSink:
        """A sink of items whose records go to these topics."""
        return KafkaSink(self.settings, topics, encode, self.settings.patience, self.gate.pulse.beat)
