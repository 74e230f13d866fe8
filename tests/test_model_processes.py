"""Processes that stay and answer many calls, and what they survive."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
import psutil
import pytest
from waiting import failure

from chaos.waiting import eventually
from operators.pools import Models, Pools
from schemas.errors import AssetError

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def pools(scratch: Path) -> Iterator[Pools]:
    pools = Pools({}, Models(read=(HERE,), scratch=scratch))
    pools.start()
    yield pools
    pools.close()


def test_a_model_process_stays(pools: Pools) -> None:
    """Calls are answered by one process that keeps its state, closed in as tasks are."""

    async def calls() -> list[tuple[int, int]]:
        return [await pools.call(faults.calls_so_far, timeout_s=30) for _ in range(2)]

    (first, count), (second, count_after) = asyncio.run(calls())
    assert (first, count + 1) == (second, count_after)
    assert "PermissionError" in failure(pools.call(faults.read, Path("/etc/passwd"), timeout_s=30)).detail
    assert "PermissionError" in failure(pools.call(faults.open_unix_socket, timeout_s=30)).detail


def test_a_model_process_writes_temporary_files_only(pools: Pools, scratch: Path, tmp_path: Path) -> None:
    """Libraries that unpack their weights to a temporary file can, in the one folder that was given."""
    assert asyncio.run(pools.call(faults.write, scratch / "weights", 10, timeout_s=30)) == 2**16
    assert "PermissionError" in failure(pools.call(faults.write, tmp_path / "out", 10, timeout_s=30)).detail


@pytest.mark.parametrize(
    ("fault", "args", "code"),
    [
        (faults.segmentation_fault, (), "decoder_crashed"),
        (faults.hang_in_c, (), "decoder_timeout"),
        (faults.take_memory, (8 * 2**30,), "decoder_memory"),
        (faults.answer_with_code, ("/made",), "decoder_crashed"),
    ],
)
def test_a_model_process_recovers(pools: Pools, fault: Any, args: tuple[Any, ...], code: str) -> None:
    """A call that ends its process fails alone; the next is answered."""
    assert failure(pools.call(fault, *args, timeout_s=0.5)).code == code
    assert asyncio.run(pools.call(faults.echo, 7, timeout_s=30)) == 7


def test_a_crash_fails_no_call_that_waits(pools: Pools) -> None:
    """Of many calls at once those that crash fail, and all others are answered."""

    async def many() -> list[Any]:
        faulty = [faults.segmentation_fault if number % 5 == 0 else faults.pid for number in range(20)]
        return await asyncio.gather(*(pools.call(fault, timeout_s=30) for fault in faulty), return_exceptions=True)

    answers = asyncio.run(many())
    assert [isinstance(answer, int) for answer in answers] == [number % 5 != 0 for number in range(20)]


def test_an_idle_model_process_that_dies_is_replaced(pools: Pools) -> None:
    """A model process killed between calls costs at most the call that meets it."""
    pid = asyncio.run(pools.call(faults.pid, timeout_s=30))
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not psutil.pid_exists(pid))

    async def again() -> int:
        try:
            return await pools.call(faults.pid, timeout_s=30)
        except AssetError as error:
            assert error.code == "decoder_crashed"
            return await pools.call(faults.pid, timeout_s=30)

    assert asyncio.run(again()) != pid


def test_cancelling_a_call(pools: Pools) -> None:
    """A cancelled call ends its process, and the next call is answered."""

    async def impatient() -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await pools.call(faults.hang_in_c, timeout_s=60)
        return await pools.call(faults.echo, 7, timeout_s=30)

    assert asyncio.run(impatient()) == 7
