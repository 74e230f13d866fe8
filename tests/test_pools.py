"""Work in processes: how it ends when it goes wrong, and that nothing else is touched by it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
import psutil
import pytest
from waiting import failure, pid_in

from chaos.waiting import eventually
from operators.pools import Lane, Models, Pools
from operators.sandbox import TaskLimits
from schemas.errors import AssetError

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def pools() -> Iterator[Pools]:
    pools = Pools({"light": Lane(2), "heavy": Lane(1, nice=5)})
    pools.start()
    yield pools
    pools.close()


def test_value_and_arguments(pools: Pools) -> None:
    """A task gets its arguments and gives its value, in a process of its own each time."""
    assert asyncio.run(pools.run("light", faults.echo, {"a": (1, 2.5, b"x")})) == {"a": (1, 2.5, b"x")}

    async def two() -> list[int]:
        return [await pools.run("light", faults.pid) for _ in range(2)]

    first, second = asyncio.run(two())
    assert len({first, second, os.getpid()}) == 3


@pytest.mark.parametrize(
    ("fault", "args", "signal_name"),
    [
        (faults.segmentation_fault, (), "SIGSEGV"),
        (faults.signal_itself, (signal.SIGSEGV,), "SIGSEGV"),
        (faults.signal_itself, (signal.SIGABRT,), "SIGABRT"),
        (faults.signal_itself, (signal.SIGKILL,), "SIGKILL"),
        (faults.leave, (3,), "status 3"),
    ],
)
def test_crash(pools: Pools, fault: Any, args: tuple[int, ...], signal_name: str) -> None:
    """A task whose process dies fails with a code and the signal's name."""
    error = failure(pools.run("light", fault, *args))
    assert error.code == "decoder_crashed"
    assert signal_name in error.detail


def test_a_crash_touches_no_neighbour(pools: Pools) -> None:
    """Tasks that run beside one that crashes finish."""

    async def beside() -> tuple[Any, Any]:
        crash = pools.run("light", faults.segmentation_fault)
        return await asyncio.gather(pools.run("light", faults.sleep, 0.2), crash, return_exceptions=True)

    slept, crashed = asyncio.run(beside())
    assert isinstance(slept, int) and isinstance(crashed, AssetError)


def test_hang(pools: Pools) -> None:
    """A task that hangs in C code, deaf to Python's signal handlers, ends at its wall time."""
    error = failure(pools.run("light", faults.hang_in_c, limits=TaskLimits(wall_s=0.3)))
    assert error.code == "decoder_timeout"


def test_processor_time(pools: Pools) -> None:
    """A task that burns more processor time than allowed is ended by the kernel."""
    error = failure(pools.run("light", faults.burn_processor, limits=TaskLimits(cpu_s=1)))
    assert error.code == "decoder_timeout"


def test_eight_gigabytes(pools: Pools) -> None:
    """A task that asks for 8 GB gets an error at the asking, and the machine's memory is not touched."""
    error = failure(pools.run("light", faults.take_memory, 8 * 2**30))
    assert error.code == "decoder_memory"


def test_memory_in_small_steps(pools: Pools) -> None:
    """The limit holds for the sum of many small pieces, and for shared mappings too."""
    tight = TaskLimits(memory_bytes=2**29)
    assert failure(pools.run("light", faults.take_memory_slowly, limits=tight)).code == "decoder_memory"
    assert failure(pools.run("light", faults.take_shared_memory, 8 * 2**30, limits=tight)).code == "decoder_memory"


def test_memory_taken_blindly(pools: Pools) -> None:
    """C code that does not look whether it got its memory crashes alone."""
    assert failure(pools.run("light", faults.take_memory_unseen, 8 * 2**30)).code == "decoder_crashed"


def test_file_size(pools: Pools, tmp_path: Path) -> None:
    """A task cannot write a file larger than allowed."""
    limits = TaskLimits(file_bytes=2**20)
    work = pools.run("light", faults.write, tmp_path / "big", 2**22, limits=limits, scratch=tmp_path)
    assert failure(work).code == "scratch_full"
    assert (tmp_path / "big").stat().st_size <= 2**20


def test_other_errors_keep_their_text_but_no_folders(pools: Pools) -> None:
    """An exception of another type is `internal`, with its type and its text, less the folders."""
    error = failure(pools.run("light", faults.raise_value_error))
    assert (error.code, error.detail) == ("internal", "ValueError: clip.mp4 is odd")


def test_a_coded_error_passes_through(pools: Pools) -> None:
    """An AssetError arrives as it was raised."""
    error = failure(pools.run("light", faults.raise_coded, "truncated", "after 3 frames"))
    assert (error.code, error.detail) == ("truncated", "after 3 frames")


def test_cancelling_ends_the_process(pools: Pools, tmp_path: Path) -> None:
    """When a cancelled await returns the process is gone, so that its scratch folder can be removed."""

    async def cancel() -> int:
        work = asyncio.create_task(pools.run("light", faults.sleep, 60, tmp_path / "pid", scratch=tmp_path))
        pid = await pid_in(tmp_path / "pid")
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return pid

    assert not psutil.pid_exists(asyncio.run(cancel()))


def test_a_timeout_around_an_await_ends_the_process(pools: Pools) -> None:
    """`asyncio.timeout` works as it does around any await, and the slot is free again."""

    async def impatient() -> str:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await pools.run("heavy", faults.hang_in_c)
        return await pools.run("heavy", faults.echo, "next")

    assert asyncio.run(impatient()) == "next"


def test_small_work_is_not_behind_large_work(pools: Pools) -> None:
    """A light task finishes while the heavy lane is full and more heavy work waits."""

    async def both() -> tuple[str, list[bool]]:
        heavy = [asyncio.create_task(pools.run("heavy", faults.sleep, 60)) for _ in range(3)]
        await asyncio.sleep(0)
        light = await pools.run("light", faults.echo, "light")
        done = [work.done() for work in heavy]
        for work in heavy:
            work.cancel()
        await asyncio.gather(*heavy, return_exceptions=True)
        return light, done

    assert asyncio.run(both()) == ("light", [False, False, False])


def test_priority_within_a_lane(pools: Pools) -> None:
    """Of the tasks that wait the highest priority starts first, then the earliest; a cancelled one never."""
    order: list[str] = []

    async def one(name: str, priority: float) -> None:
        await pools.run("heavy", faults.nothing, priority=priority)
        order.append(name)

    async def several() -> None:
        names = {"first": 0.0, "short": 1.0, "long": 9.0, "gone": 5.0, "also short": 1.0}
        work = {name: asyncio.create_task(one(name, priority)) for name, priority in names.items()}
        await asyncio.sleep(0)
        work["gone"].cancel()
        await asyncio.gather(*work.values(), return_exceptions=True)

    asyncio.run(several())
    assert order == ["first", "long", "short", "also short"]


def test_close_ends_everything(tmp_path: Path) -> None:
    """Closing ends running tasks, hung ones too, and model processes; what awaits them is cancelled."""
    pools = Pools({"light": Lane(2), "heavy": Lane(1, nice=5)}, Models(read=(HERE,)))
    pools.start()

    async def closed() -> list[int]:
        hung = asyncio.create_task(pools.run("heavy", faults.hang_in_c))
        task = asyncio.create_task(pools.run("light", faults.sleep, 60, tmp_path / "pid", scratch=tmp_path))
        pids = [await pid_in(tmp_path / "pid"), await pools.call(faults.pid, timeout_s=30)]
        pools.close()
        outcomes = await asyncio.gather(hung, task, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        return pids

    assert not any(psutil.pid_exists(pid) for pid in asyncio.run(closed()))


FLOW = """
import asyncio, sys
from pathlib import Path
import faults
from operators.pools import Lane, Models, Pools

async def work(folder):
    tasks = [pools.run("light", faults.sleep, 60, folder / name, scratch=folder) for name in "ab"]
    pid = await pools.call(faults.pid, timeout_s=30)
    (folder / "model").write_text(str(pid))
    hung = pools.run("heavy", faults.hang_in_c), pools.call(faults.hang_in_c, timeout_s=60)
    await asyncio.gather(*tasks, *hung)

pools = Pools({"light": Lane(2), "heavy": Lane(1)}, Models(read=(Path(faults.__file__).parent,)))
pools.start()
asyncio.run(work(Path(sys.argv[1])))
"""


def test_kill_9_of_the_flow_ends_its_processes(tmp_path: Path) -> None:
    """A flow killed without warning leaves no process behind: tasks, models, fork server."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(HERE), str(HERE.parent)))}
    flow = subprocess.Popen([sys.executable, "-c", FLOW, str(tmp_path)], env=environment, stderr=subprocess.DEVNULL)
    try:
        assert eventually(lambda: len([p for p in tmp_path.iterdir() if p.read_text()]) == 3, 60)
        family = psutil.Process(flow.pid).children(recursive=True)
        workers = {int(path.read_text()) for path in tmp_path.iterdir()}
        assert workers <= {process.pid for process in family}
    finally:
        flow.kill()
        flow.wait()
    assert len(family) >= 6
    assert eventually(lambda: not any(_alive(process) for process in family))


def _alive(process: psutil.Process) -> bool:
    """Not so if only its exit status is left, for whoever adopted it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
