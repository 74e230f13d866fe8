"""The object store on S3 when the server is away, connections break, or the writer is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

import buckets
import pytest

from chaos.servers import S3, Proxy, proxy
from schemas.errors import AssetError
from schemas.ports import ObjectStore
from sinks.s3 import S3Objects

pytestmark = pytest.mark.services

SIZE = 3 * buckets.SMALL_PART
SHA = "ab" * 32


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with buckets.bucket() as url:
        yield url


@pytest.fixture
def url(bucket: str) -> str:
    return f"{bucket}/{uuid.uuid4().hex}"


@pytest.fixture
def faulty() -> Iterator[Proxy]:
    with proxy(S3.removeprefix("http://")) as made:
        yield made


async def _local(store: ObjectStore) -> None:
    async with store.local("t", SHA, Path()):
        pass


async def _stream(size: int) -> AsyncIterator[bytes]:
    yield bytes(size)


CALLS: dict[str, Callable[[ObjectStore], Awaitable[object]]] = {
    "add_bytes": lambda store: store.add_bytes("t", b"x", "a/b"),
    "add_stream": lambda store: store.add_stream("t", _stream(6 * 2**20), "a/b", 2**30),
    "archive": lambda store: store.archive("t", SHA),
    "create": lambda store: store.create("claims/x", b"x"),
    "delete": lambda store: store.delete("claims/x"),
    "exists": lambda store: store.exists("t", SHA),
    "get": lambda store: store.get("claims/x"),
    "keys": lambda store: store.keys("claims"),
    "local": _local,
    "read": lambda store: store.read("t", SHA),
    "remove": lambda store: store.remove("t", SHA),
    "sweep": lambda store: store.sweep(0),
}


@pytest.mark.parametrize("fault", [Proxy.down, Proxy.half_open], ids=["down", "half open"])
def test_a_store_that_is_away_has_a_code(
    url: str, faulty: Proxy, fault: Callable[[Proxy], AbstractContextManager[None]]
) -> None:
    """Every call ends in bounded time with store_unavailable, which names no key and no address."""
    account = buckets.behind(faulty.address)
    store = S3Objects(url, account, part=buckets.SMALL_PART)

    async def failed(call: Callable[[ObjectStore], Awaitable[object]]) -> str:
        with pytest.raises(AssetError) as raised:
            await asyncio.wait_for(asyncio.ensure_future(call(store)), 45)
        assert raised.value.code == "store_unavailable"
        return raised.value.detail

    async def run() -> list[str]:
        return await asyncio.gather(*(failed(call) for call in CALLS.values()))

    with fault(faulty):
        details = asyncio.run(run())
    assert all(detail.startswith("cannot ") and len(detail) < 80 for detail in details)
    assert not any(secret in "".join(details) for secret in (account.secret_key, faulty.address, "http", "objects/"))


def test_a_store_that_refuses_says_why(url: str) -> None:
    """Wrong keys and a bucket that is not there are named by S3's own code, without the signature."""

    async def detail(store: S3Objects, call: str) -> str:
        with pytest.raises(AssetError, match="store_unavailable") as raised:
            await CALLS[call](store)
        return raised.value.detail

    async def run() -> None:
        nobody = S3Objects(url, replace(buckets.ACCOUNT, secret_key="wrong"), part=buckets.SMALL_PART)
        assert await detail(nobody, "create") == "cannot create: SignatureDoesNotMatch"
        assert await detail(nobody, "sweep") == "cannot list multipart uploads: SignatureDoesNotMatch"
        nowhere = S3Objects("s3://test-that-is-not-there", buckets.ACCOUNT, part=buckets.SMALL_PART)
        assert await detail(nowhere, "create") == "cannot create: NoSuchBucket"
        assert await detail(nowhere, "add_bytes") == "cannot put object: NoSuchBucket"
        assert await detail(nowhere, "add_stream") == "cannot create multipart upload: NoSuchBucket"

    asyncio.run(run())


@pytest.mark.parametrize("part", [buckets.SMALL_PART, 2 * SIZE], ids=["by parts", "one put"])
def test_a_connection_cut_in_the_middle_leaves_nothing_visible(
    url: str, faulty: Proxy, part: int, tmp_path: Path
) -> None:
    """An upload whose connections break half-way is store_unavailable and not there, and nothing is left to sweep."""
    store = S3Objects(url, buckets.behind(faulty.address), part=part)
    (tmp_path / "source").write_bytes(bytes(SIZE))

    async def run() -> None:
        with faulty._toxic("limit_data", "upstream", bytes=2 * 2**20):
            for adding in (
                store.add_file("t", tmp_path / "source", "a/b"),
                store.add_stream("t", _stream(SIZE), "a/b", 2**30),
            ):
                with pytest.raises(AssetError, match="store_unavailable"):
                    await adding
        assert await store.keys("objects") == []
        assert await store.left(-1) == []

    asyncio.run(run())


class OvertakenS3Objects(S3Objects):
    """Another writer stores every content between this one's question whether it is there and its put."""

    asked = False

    async def exists(self, tenant: str, sha256: str) -> bool:
        there, self.asked = self.asked and await super().exists(tenant, sha256), not self.asked
        return there


def test_a_put_that_is_refused_before_its_bytes_are_read_ends_well(url: str) -> None:
    """The server resets the connection of one that still sends, often before it has read the refusal."""
    data = bytes(2 * SIZE)

    async def run() -> None:
        ref = await S3Objects(url, buckets.ACCOUNT).add_bytes("t", data, "a/b")
        late = OvertakenS3Objects(url, buckets.ACCOUNT)
        assert [await late.add_bytes("t", data, "a/b") for _ in range(8)] == [ref] * 8

    asyncio.run(run())


def test_a_store_that_goes_away_in_the_middle_is_swept_later(url: str, faulty: Proxy) -> None:
    """Where the upload cannot even be given up, nothing of it is visible, and a sweep takes what is left."""
    store = S3Objects(url, buckets.behind(faulty.address), part=buckets.SMALL_PART)

    async def run() -> None:
        with ExitStack() as fault:

            async def source() -> AsyncIterator[bytes]:
                yield bytes(SIZE)
                fault.enter_context(faulty.down())
                yield bytes(SIZE)

            with pytest.raises(AssetError, match="store_unavailable"):
                await store.add_stream("t", source(), "a/b", 2**30)
        assert await store.keys("objects") == []
        assert await store.sweep(3600) == 0
        assert await store.sweep(-1) == 1
        assert await store.left(-1) == []

    asyncio.run(run())


def test_some_broken_connections_are_tried_again(url: str, faulty: Proxy) -> None:
    """Where a tenth of the connections is reset, calls that are made again end well, with one object each."""
    store = S3Objects(url, buckets.behind(faulty.address), part=buckets.SMALL_PART)
    contents = [bytes([number]) * 1_000 for number in range(30)]

    async def insistent(data: bytes) -> None:
        for _ in range(20):
            try:
                await store.add_bytes("t", data, "a/b")
                await store.create(f"claims/{data[0]}", data)
                return
            except AssetError as error:
                assert error.code == "store_unavailable"
        raise AssertionError("none of 20 attempts ended well")

    async def run() -> None:
        with faulty.reset(10):
            await asyncio.gather(*(insistent(data) for data in contents))
        assert len(await store.keys("objects")) == len(contents)
        assert [await store.get(f"claims/{data[0]}") for data in contents] == contents

    asyncio.run(run())


WRITER = """
import asyncio, sys
import buckets
async def slow():
    for _ in range(10_000):
        yield bytes(2**20)
        await asyncio.sleep(0.005)
async def main():
    store = buckets.by_parts(sys.argv[1])
    async def records():
        for i in range(1_000_000):
            await store.create(f"claims/{i}", b"x" * 200_000)
    await asyncio.gather(records(), store.add_stream("t", slow(), "a/b", 2**35))
asyncio.run(main())
"""


def test_kill_leaves_nothing_half_written(url: str) -> None:
    """After kill -9 every record is whole, the unfinished object is invisible, and a sweep takes the rest."""
    tests = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, url], cwd=tests.parent, env=environment)
    store = S3Objects(url, buckets.ACCOUNT)

    async def under_way() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (await store.left(-1) and len(await store.keys("claims")) > 9):
            await asyncio.sleep(0.2)

    try:
        asyncio.run(under_way())
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()

    async def run() -> None:
        keys = await store.keys("claims")
        assert len(keys) > 9
        assert {len(await store.get(key) or b"") for key in keys} == {200_000}
        assert await store.keys("objects") == []
        assert await store.sweep(3600) == 0
        assert await store.sweep(-1) == 1
        assert await store.left(-1) == []

    asyncio.run(run())
