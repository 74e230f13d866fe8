"""Files that tasks read without a path: over a descriptor, or over a socketpair that the flow answers."""

from __future__ import annotations

import asyncio
import gc
import subprocess
from collections.abc import Iterator
from pathlib import Path

import faults
import numpy as np
import pytest
from test_first import first_of
from waiting import failure

from operators.media.first import FirstSegment
from operators.pools import Lane, Pools
from operators.served import BLOCK, Handle, serving
from schemas.ports import Parts

ROOT = Path(__file__).parent.parent
DATA = np.random.default_rng(3).integers(0, 256, 5 * BLOCK + 1234, np.uint8).tobytes()


@pytest.fixture(scope="module")
def pools() -> Iterator[Pools]:
    pools = Pools({"first": Lane(2)})
    pools.start()
    yield pools
    pools.close()


class Reads:
    """What is served, and which ranges were asked for."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data, self.asked = data, list[tuple[int, int]]()

    async def __call__(self, start: int, end: int) -> bytes:
        self.asked.append((start, end))
        return self.data[start:end]


def test_a_task_reads_a_served_file_as_any_other(pools: Pools) -> None:
    """It seeks, reads over the borders of blocks and to the end, and two readers do not disturb each other."""
    reads, places = Reads(), [(0, 10), (BLOCK - 5, 10), (3 * BLOCK, 2 * BLOCK), (len(DATA) - 7, 100), (len(DATA), 5)]

    async def main() -> list[bytes]:
        async with serving(Parts(len(DATA), reads)) as handle:
            return await pools.run("first", faults.read_places, handle, places)

    assert asyncio.run(main()) == [DATA[at : at + length] for at, length in places]
    assert len(reads.asked) == len(set(reads.asked)) and all(b - a <= BLOCK for a, b in reads.asked)


def test_a_task_reads_a_local_file_by_its_descriptor_alone(pools: Pools, tmp_path: Path) -> None:
    """The path stays closed to it."""
    path = tmp_path / "file"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        handle = Handle(file.fileno(), len(DATA))
        found = asyncio.run(pools.run("first", faults.read_places, handle, [(BLOCK - 5, 10)]))
    assert found == [DATA[BLOCK - 5 : BLOCK + 5]]
    assert failure(pools.run("first", faults.read_path, path)).code == "internal"


@pytest.mark.tool("ffmpeg")
def test_only_what_is_needed_is_read(pools: Pools, tmp_path: Path) -> None:
    """Of a long video with its index at the end, the first segment asks for its start and its end alone."""
    source = tmp_path / "long.mp4"
    looped = ["-stream_loop", "9", "-i", ROOT / "samples" / "big-buck-bunny.mp4", "-c", "copy"]
    subprocess.run(["ffmpeg", "-v", "error", *looped, source], check=True)
    reads = Reads(source.read_bytes())

    async def main() -> FirstSegment:
        async with serving(Parts(len(reads.data), reads)) as handle:
            return await pools.run("first", first_of, handle)

    assert asyncio.run(main()).pictures == 48
    assert len(reads.data) > 8 * BLOCK and sum(b - a for a, b in reads.asked) < len(reads.data) / 2


def test_a_failing_store_ends_the_task_and_not_the_flow(pools: Pools) -> None:
    """Bytes that cannot be had are the task's error; the next task is served."""

    async def broken(_start: int, _end: int) -> bytes:
        raise RuntimeError("away")

    async def main() -> None:
        async with serving(Parts(len(DATA), broken)) as handle:
            await pools.run("first", faults.read_places, handle, [(0, 10)])

    assert failure(main()).code == "internal"
    test_a_task_reads_a_served_file_as_any_other(pools)


def test_a_task_that_asks_for_nonsense_is_not_answered(pools: Pools) -> None:
    """A worker that was taken over gets no bytes beyond the file, and does not hold the flow."""

    async def main() -> None:
        async with serving(Parts(len(DATA), Reads())) as handle:
            await pools.run("first", faults.ask_beyond, handle)

    assert failure(main()).code == "internal"


def test_descriptors_are_closed(pools: Pools) -> None:
    """Serving many files leaves none open."""

    async def main() -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(3):
            async with serving(Parts(len(DATA), Reads())) as handle:
                await pools.run("first", faults.read_places, handle, [(0, 1)])
        gc.collect()
        assert len(list(Path("/proc/self/fd").iterdir())) <= before

    asyncio.run(main())
