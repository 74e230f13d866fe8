"""The playlist of the first playable grows: the preview's chunks are appended in order as they and the sound come.

Which chunks are there, their records tell, wherever they were made. What a killed run had appended is appended again
under the same names, and the playlist is replaced only by a longer one.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from fractions import Fraction
from itertools import count, pairwise
from pathlib import Path

from operators.media.plan import RenderPlan
from operators.media.segments import Cut, Entry, Segment, cut
from operators.stages import first
from operators.stages.chunks import steps_of
from operators.stages.services import Services
from operators.stages.steps import find, scratch_folder
from operators.stages.video_tasks import LIMITS
from schemas.asset import Output, StepResult, Work

INIT = "preview-init.mp4"
LOOK_S = 1.0
# how often the playlist is replaced at most, since all its URLs are signed again
EVERY_S = 5.0
# a preview that is there already is appended in parts of so many s
PART_S = 60


class Growth:
    """Lets the playlist of one asset grow, if it has one.

    It is told the plan of the chunks, the preview's sound (None for none), and that all chunks are there; `run` waits
    for these, and leaves a playlist that has ended.
    """

    def __init__(self, services: Services, work: Work) -> None:
        self._services, self._work = services, work
        self._first = work.step("preview.first")
        loop = asyncio.get_running_loop()
        self.plan: asyncio.Future[RenderPlan | None] = loop.create_future()
        self.sound: asyncio.Future[Output | None] = loop.create_future()
        self.over = asyncio.Event()
        self._grown: list[tuple[str, Segment]] = []
        self._listed, self._written_at = 0, 0.0

    async def run(self) -> None:
        """Appends the chunks as they come; for a plan of None, which tells of a preview that is there, nothing."""
        plan = await self.plan
        if self._first is None or plan is None:
            return
        async with AsyncExitStack() as stack:
            begin, sound = await self._begin(self._first), await self._local(stack, await self.sound)
            for number, (start, stop) in enumerate(plan.chunks):
                chunk = await self._chunk(plan, (start, stop))
                end = plan.duration if stop is None else stop * plan.time_base - plan.origin
                async with AsyncExitStack() as held:
                    path = await self._local(held, chunk.outputs[0])
                    found = await self._cut(path, sound, plan.origin, begin, None, Fraction(end), stop is None)
                await self._append(number, found)
            await self._write(ended=True)

    async def finish(self, preview: Output) -> None:
        """Appends a preview that was there already."""
        if self._first is None or (self.plan.done() and self.plan.result() is not None):
            return
        async with AsyncExitStack() as stack:
            begin, end = await self._begin(self._first), Fraction(str(preview.properties["duration"]))
            sound, path = await self._local(stack, self.sound.result()), await self._local(stack, preview)
            borders = [*(Fraction(PART_S * i) for i in range(int(end / PART_S) + 1)), None]
            for number, (start, stop) in enumerate(pairwise(borders)):
                assert start is not None
                found = await self._cut(path, sound, Fraction(0), max(begin, start), stop, end, stop is None)
                await self._append(number, found)
            await self._write(ended=True)

    async def _begin(self, result: StepResult) -> Fraction:
        """Makes sure of the first segment's files, which do not outlive a restart everywhere; when it ends (s)."""
        services, work = self._services, self._work
        listed = await services.store.get(first.private_key(work, first.PLAYLIST))
        if listed is None:
            segment = await first.segment_of(services, work, result)
            await first.publish(services, work, segment)
        self._listed = (listed or b"").count(b"#EXTINF")
        return Fraction(result.values["end"])

    async def _local(self, stack: AsyncExitStack, output: Output | None) -> Path | None:
        if output is None:
            return None
        scratch = stack.enter_context(scratch_folder(self._services))
        return await stack.enter_async_context(self._services.store.local(self._work.tenant, output.sha256, scratch))

    async def _chunk(self, plan: RenderPlan, chunk: tuple[int | None, int | None]) -> StepResult:
        (step,) = steps_of(self._work, plan, ["preview"], chunk)
        for _ in count():
            over = self.over.is_set()
            if (found := await find(self._services, self._work.tenant, step)) is not None:
                return found
            if over:
                break
            try:
                await asyncio.wait_for(self.over.wait(), LOOK_S)
            except TimeoutError:
                continue
        raise RuntimeError("all chunks were said to be there")

    async def _cut(
        self, path: Path | None, sound: Path | None, origin: Fraction, start: Fraction, stop: Fraction | None,
        end: Fraction, last: bool,
    ) -> Cut:  # fmt: skip
        read = [each for each in (path, sound) if each]
        return await self._services.pools.run(
            "light", cut, path, sound, origin, start, stop, end, last, limits=LIMITS, read=read
        )

    async def _append(self, number: int, found: Cut) -> None:
        if not found.segments:
            return
        name, put = f"preview-{number:05d}.m4s", self._services.store.put
        if not self._grown:
            await put(first.private_key(self._work, INIT), found.init, first.SEGMENT_TYPE)
        await put(first.private_key(self._work, name), found.media, first.SEGMENT_TYPE)
        self._grown += [(name, segment) for segment in found.segments]
        await self._write(ended=False)

    async def _write(self, ended: bool) -> None:
        late = time.monotonic() - self._written_at >= EVERY_S
        if not ended and (not late or len(self._grown) + 1 <= self._listed):
            return
        services, work = self._services, self._work
        assert self._first is not None
        entries = [await first.entry(services, work, float(Fraction(self._first.values["end"])))]
        init = await first.named(services, work, INIT)
        for name, segment in self._grown:
            place = (segment.offset, segment.bytes)
            entries.append(Entry(await first.named(services, work, name), init, segment.seconds, place))
        await first.put_playlist(services, work, entries, ended)
        self._written_at = time.monotonic()
