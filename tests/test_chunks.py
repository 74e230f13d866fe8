"""The chunks of a video: kept over kill -9, rendered once, and rendered elsewhere where there is somebody."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import media_factory as make
import pytest
from chunk_works import FAST, chunk_results, work_of
from flow_runs import Place, check_alone, clip

from dataflows.connections import objects_of
from dataflows.runtime import Runtime
from dataflows.spreading import Spreading
from operators.media.chunks import Range
from operators.stages import chunks, spreading, videos
from operators.stages.ingest import tombstone_key
from operators.stages.services import Services
from operators.stages.video_tasks import render
from schemas.asset import StepRun, Work
from schemas.chunks import ChunkEnd, ChunkTask, decode_end, decode_task, encode_end
from schemas.errors import AssetError, State
from schemas.events import StatusChanged
from schemas.fold import PARTS, is_end
from schemas.messages import Message, Record
from schemas.settings import Settings

SECONDS, OUTPUTS = 6, 6


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of a dozen chunks."""
    return clip(tmp_path_factory.mktemp("film") / "film.mp4", SECONDS)


@dataclass
class Counted:
    """Services of a runtime, and the ranges that were rendered with them."""

    runtime: Runtime
    ranges: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        run = self.runtime.pools.run

        def counting(lane: str, function: Callable[..., Any], *given: Any, **options: Any) -> Any:
            if function is render:
                self.ranges.append(given[3:5])
            return run(lane, function, *given, **options)

        self.runtime.pools.run = counting  # type: ignore[method-assign]

    def services(self, **changes: Any) -> Services:
        return replace(self.runtime.services, **changes)

    def work(self, path: Path, **video: Any) -> Work:
        return self.runtime.loop.run(work_of(self.runtime.store, path, video=FAST.model_copy(update=video)))

    def derived(self, work: Work, **changes: Any) -> list[StepRun]:
        return self.runtime.loop.run(videos.run(self.services(**changes), work), 120)

    def shown(self, runs: list[StepRun], folder: Path) -> list[Any]:
        """The pictures of the mezzanine."""
        sha256 = next(o.sha256 for r in runs for o in r.result.outputs if o.name == "mezzanine")
        path = folder / "mezzanine.mp4"
        path.write_bytes(self.runtime.loop.run(self.runtime.store.read("default", sha256)))
        return make.shown(path)


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    """An embedded runtime on a folder of its own."""
    with Runtime(Settings(out=tmp_path / "out"), "test", None) as runtime:
        yield Counted(runtime)


class Elsewhere(Spreading):
    """Renders in this process what it is asked for: unless nobody `hears` the n-th request, or nobody `answers`."""

    def __init__(
        self,
        counted: Counted,
        hears: Callable[[int], bool] = lambda _number: True,
        answers: bool = True,
        error: AssetError | None = None,
    ) -> None:
        super().__init__(Settings(events="kafka://nobody"), lambda: None)
        self._counted, self._hears, self._answers, self._error = counted, hears, answers, error
        self.asked: list[ChunkTask] = []
        self._rendering: list[asyncio.Task[None]] = []

    def _deliver(self, records: Sequence[Record]) -> None:
        for record in records:
            task = decode_task(Message(record.topic, 0, 0, record.key.encode(), record.value, record.headers))
            self.asked.append(task)
            if self._hears(len(self.asked)):
                self._counted.runtime.loop.call(self._start, task)

    def _start(self, task: ChunkTask) -> None:
        self._rendering.append(asyncio.ensure_future(self._render(task)))

    async def _render(self, task: ChunkTask) -> None:
        failure = (
            {"code": self._error.code, "detail": self._error.detail, "step": self._error.step} if self._error else {}
        )
        if not failure:
            await chunks.run(self._counted.services(), task)
        if self._answers:
            told = encode_end(ChunkEnd(call=task.call, asset_id=task.work.asset_id, **failure))
            for _ in range(2):  # a message may come twice
                self.ended(decode_end(Message(told.topic, 0, 0, told.key.encode(), told.value, told.headers)))


def test_chunks_are_rendered_in_order(film: Path, tmp_path: Path) -> None:
    """The playlist grows from the start: all but the last six come one after the other."""
    ended = list[Any]()
    with Runtime(Settings(out=tmp_path / "out", heavy_workers=1), "test", None) as runtime:
        counted, run = Counted(runtime), runtime.pools.run

        async def noting(lane: str, function: Callable[..., Any], *given: Any, **options: Any) -> Any:
            found = await run(lane, function, *given, **options)
            if function is render:
                ended.append(given[3:5])
            return found

        runtime.pools.run = noting  # type: ignore[method-assign]
        counted.derived(counted.work(film, chunk_s=0.5))
    starts = [start or 0 for start, _ in ended]
    usual = [start for start in starts[1:] if start < sorted(starts)[6]]  # a free worker takes any that comes first
    assert len(starts) == 12 and usual == sorted(usual) == starts[1 : 1 + len(usual)] and len(usual) >= 5


# the command, killed while it records what came of its chunks
KILLED = """
import os, signal
from dataflows import cli
from sinks.records import Records

left, create = [KILLED_AT], Records.create


async def killed(store, key, data):
    left[0] -= b'"step":"chunk-' in data
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return await create(store, key, data)


Records.create = killed
cli.main()
"""


def test_after_kill_9_no_finished_chunk_is_encoded_again(film: Path, tmp_path: Path) -> None:
    """What a killed run had finished is found by its result ids, only the rest is rendered; a late chunk is found, too.

    The outcome is that of a run that nobody killed.
    """
    pipelines = tmp_path / "pipelines.toml"
    pipelines.write_text(
        'default.profile = "none"\n[default.video]\nchunk_s = 0.5\n'
        "mezzanine = {height = 144, crf = 24, gop_s = 2.0, preset = 'ultrafast'}\n"
        "preview = {height = 72, crf = 26, gop_s = 1.0, preset = 'ultrafast'}\n"
    )
    place = Place(tmp_path / "out", {"ASSET_PIPELINE_PIPELINES_FILE": str(pipelines)})
    store = objects_of(place.settings)
    program = (sys.executable, "-c", KILLED.replace("KILLED_AT", str(4 * OUTPUTS)))
    with place.started("run", film, "--out", place.out, program=program) as running:
        _, errors = running.communicate(timeout=60)
        assert running.returncode == -signal.SIGKILL, errors
        check_alone(running.pid)
    finished = asyncio.run(chunk_results(store))
    with Runtime(place.settings, "test", None) as runtime:
        counted = Counted(runtime)
        work = counted.work(film)
        runs = counted.derived(work)
        results = runtime.loop.run(chunk_results(runtime.store))
        each = Counter(tuple(result.params["range"]) for result in finished.values())
        whole = {chunk for chunk, outputs in each.items() if outputs == OUTPUTS}
        every = {tuple(result.params["range"]) for result in results.values()}
        assert len(whole) >= 2 and whole < every
        assert set(counted.ranges) == every - whole and len(counted.ranges) == len(every - whole)
        assert finished.items() <= results.items() and len(results) == OUTPUTS * len(every)
        assert [number for _, number in counted.shown(runs, tmp_path)] == list(range(24 * SECONDS))

        before = place.made()
        chunk = whole.pop()
        late = runtime.loop.run(late_task(runtime, work, chunk))
        outcome = runtime.loop.run(chunks.run(runtime.services, late))
        assert outcome.item is not None and all(run.cached for run in outcome.item.work.steps)
        assert place.made() == before


async def late_task(runtime: Runtime, work: Work, chunk: Range) -> ChunkTask:
    """A request for two outputs of a chunk."""
    async with chunks.with_plan(runtime.services, work) as (_path, plan):
        return spreading.task_of(work, chunk, chunks.steps_of(work, plan, ["mezzanine", "poster"], chunk))


def test_a_long_video_is_rendered_elsewhere(film: Path, counted: Counted, tmp_path: Path) -> None:
    """Above the threshold each chunk is asked for once, and its video is the same; up to it nobody is asked."""
    elsewhere = Elsewhere(counted)
    counted.derived(short := counted.work(film, spread_s=float(SECONDS)), spread=elsewhere)
    assert not elsewhere.asked and counted.ranges
    here = counted.shown(counted.derived(short), tmp_path)

    work = counted.work(film, spread_s=SECONDS - 0.5, chunk_s=0.6)
    runs = counted.derived(work, spread=elsewhere)
    ranges = [task.range for task in elsewhere.asked]
    assert len(ranges) == len(set(ranges)) > 3 and set(elsewhere.asked[0].outputs) == {"mezzanine", "preview"}
    assert counted.shown(runs, tmp_path) == here
    assert not any(run.cached for run in runs if run.result.step == "mezzanine")
    counted.derived(work, spread=elsewhere)
    assert len(elsewhere.asked) == len(ranges)


def test_lost_messages_change_nothing(
    film: Path, counted: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost answer is made up for by the records, a request that nobody hears by rendering it here."""
    monkeypatch.setattr(spreading, "LOOK_S", 0.2)
    work = counted.work(film, spread_s=0.0)
    runs = counted.derived(work, spread=Elsewhere(counted, answers=False))
    rendered = len(counted.ranges)
    assert [number for _, number in counted.shown(runs, tmp_path)] == list(range(24 * SECONDS))

    monkeypatch.setattr(chunks, "LATE_S", 1.0)
    other = counted.work(film, spread_s=0.0, chunk_s=0.6)
    half = Elsewhere(counted, hears=lambda number: number % 2 == 1)
    runs = counted.derived(other, spread=half)
    assert len(counted.ranges) - rendered == len(half.asked)
    assert [number for _, number in counted.shown(runs, tmp_path)] == list(range(24 * SECONDS))


def test_a_chunk_that_fails_elsewhere_fails_the_video(film: Path, counted: Counted) -> None:
    """With its code and its step, as if it had failed here."""
    error = AssetError("corrupt_media", "at 1.000 s")
    error.step = "chunk-mezzanine"
    with pytest.raises(AssetError) as raised:
        counted.derived(counted.work(film, spread_s=0.0), spread=Elsewhere(counted, error=error))
    assert (raised.value.code, raised.value.detail) == ("corrupt_media", "at 1.000 s")
    assert raised.value.step == "chunk-mezzanine" and not raised.value.transient
    unknown = ChunkEnd(call="1", asset_id="2", code="of_a_newer_version").error()
    assert unknown is not None and unknown.code == "internal"


def test_nobody_waits_for_the_chunks_of_a_deleted_asset(
    film: Path, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no chunk of it ends any more, its tombstone ends the wait."""
    monkeypatch.setattr(spreading, "LOOK_S", 0.1)
    work = counted.work(film, spread_s=0.0)
    stone = tombstone_key(work.tenant, work.asset_id)
    counted.runtime.loop.run(counted.runtime.store.create(stone, b"{}"))
    with pytest.raises(AssetError, match="deleted"):
        counted.derived(work, spread=Elsewhere(counted, hears=lambda _number: False))
    assert not counted.ranges


def test_the_end_of_a_chunk_is_no_assets_end() -> None:
    """A chunk that fails elsewhere is told of where it was asked for; it counts as no asset's end."""
    about = {"asset_id": "a", "job_id": "j", "tenant": "t", "step": "", "code": "corrupt_media"}
    assert not is_end(StatusChanged.of(**about, stage=PARTS, state=State.FAILED))
    assert is_end(StatusChanged.of(**about, stage="derive", state=State.FAILED))
