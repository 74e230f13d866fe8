"""The object store after kill -9."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sinks.objects import Objects

WRITER = """
import asyncio, sys
from sinks.objects import Objects
async def slow():
    for _ in range(10_000):
        yield bytes(2**20)
        await asyncio.sleep(0.005)
async def main():
    store = Objects(sys.argv[1])
    async def records():
        for i in range(1_000_000):
            await store.create(f"claims/{i}", b"x" * 200_000)
    await asyncio.gather(records(), store.add_stream("t", slow(), "a/b", 2**40))
asyncio.run(main())
"""


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_kill_leaves_nothing_half_written(tmp_path: Path) -> None:
    """After kill -9 every record is whole, the unfinished object is invisible, and a sweep takes the rest."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, tmp_path.as_uri()], cwd=Path(__file__).parent.parent)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (any(tmp_path.glob("tmp/*")) and any(tmp_path.glob("claims/9"))):
            time.sleep(0.02)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    store = Objects(tmp_path.as_uri())

    async def run() -> None:
        keys = await store.keys("claims")
        assert keys
        assert {len(await store.get(key) or b"") for key in keys} == {200_000}
        assert await store.keys("objects") == []
        assert await store.keys("tmp") == []
        assert await store.sweep(3600) == 0
        assert await store.sweep(-1) >= 1
        left = files(tmp_path)
        assert all(name.startswith("claims/") and "#" not in name for name in left)
        assert len(left) == len(keys)

    asyncio.run(run())


def test_leftovers_of_a_killed_create_do_not_block(tmp_path: Path) -> None:
    """A record whose first writer died half-way can be created, and the half is never read."""
    store = Objects(tmp_path.as_uri())
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "x#1").write_bytes(b"ha")
    old = time.time() - 7200
    os.utime(tmp_path / "claims" / "x#1", (old, old))

    async def run() -> None:
        assert await store.get("claims/x") is None
        assert await store.keys("claims") == []
        assert await store.create("claims/x", b"whole") == b"whole"
        assert await store.sweep(3600) == 1
        assert files(tmp_path) == ["claims/x"]

    asyncio.run(run())
