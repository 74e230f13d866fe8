"""The object store, in a folder and (what does not depend on one) in memory."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.errors import AssetError
from sinks.objects import Objects

DATA = random.Random(1).randbytes(3 * 2**20 + 17)
SHA = hashlib.sha256(DATA).hexdigest()
LIMIT = 2**30


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return Objects((tmp_path / "a store").as_uri() if request.param == "file" else "memory:///")


async def chunks(data: bytes = DATA, size: int = 50_000, error: Exception | None = None) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
    if error:
        raise error


@contextmanager
def code(expected: str) -> Iterator[None]:
    with pytest.raises(AssetError) as raised:
        yield
    assert raised.value.code == expected


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_every_way_in_gives_the_same_object(store: Objects, tmp_path: Path) -> None:
    """A file, bytes and a stream of the same content are one object under its SHA-256."""
    source = tmp_path / "source.bin"
    source.write_bytes(DATA)

    async def run() -> None:
        refs = [
            await store.add_stream("t", chunks(), "video/mp4", LIMIT),
            await store.add_file("t", source, "video/mp4"),
            await store.add_bytes("t", DATA, "video/mp4"),
        ]
        assert {(ref.sha256, ref.bytes, ref.media_type) for ref in refs} == {(SHA, len(DATA), "video/mp4")}
        assert await store.keys("objects") == [f"objects/t/{SHA[:2]}/{SHA}"]
        assert await store.keys("tmp/") == []
        assert await store.read("t", SHA) == DATA

    asyncio.run(run())


def test_local_gives_a_file_to_read(store: Objects, tmp_path: Path) -> None:
    """`local` gives the object's bytes as a file, and leaves nothing in the scratch folder."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    async def run() -> None:
        await store.add_bytes("t", DATA, "a/b")
        async with store.local("t", SHA, scratch) as path:
            assert path.read_bytes() == DATA
        assert files(scratch) == []
        assert await store.exists("t", SHA)

    asyncio.run(run())


def test_objects_belong_to_one_tenant(store: Objects) -> None:
    """Another tenant neither sees nor removes an object, and a missing one has its own code."""

    async def run() -> None:
        await store.add_bytes("t", DATA, "a/b")
        assert not await store.exists("u", SHA)
        await store.remove("u", SHA)
        assert await store.exists("t", SHA)
        await store.remove("t", SHA)
        await store.remove("t", SHA)
        with code("object_missing"):
            await store.read("t", SHA)

    asyncio.run(run())


def test_an_archived_object_is_read_as_before(store: Objects, tmp_path: Path) -> None:
    """Archiving changes neither an object's URL nor how it is read, listed, stored again or removed."""

    async def run() -> None:
        await store.add_stream("t", chunks(), "a/b", LIMIT)
        url = store.url("t", SHA)
        await asyncio.gather(*(store.archive("t", SHA) for _ in range(3)))
        await store.add_stream("t", chunks(), "a/b", LIMIT)
        assert await store.read("t", SHA) == DATA
        assert await store.keys("objects") == [f"objects/t/{SHA[:2]}/{SHA}"]
        assert store.url("t", SHA) == url
        async with store.local("t", SHA, tmp_path) as path:
            assert path.read_bytes() == DATA
            assert not path.is_symlink()
        await store.remove("t", SHA)
        assert not await store.exists("t", SHA)
        assert await store.keys("archive") == []
        with code("object_missing"):
            await store.archive("t", SHA)

    asyncio.run(run())


def test_a_folder_has_an_archive(tmp_path: Path) -> None:
    """In a folder the archived bytes lie once, below `archive/`, and the URL leads to them."""
    store = Objects(tmp_path.as_uri())

    async def run() -> None:
        await store.add_bytes("t", DATA, "a/b")
        await store.archive("t", SHA)

    asyncio.run(run())
    assert [name for name in files(tmp_path) if not (tmp_path / name).is_symlink()] == [f"archive/t/{SHA[:2]}/{SHA}"]
    assert (tmp_path / f"objects/t/{SHA[:2]}/{SHA}").read_bytes() == DATA


def test_storing_again_does_not_rewrite(tmp_path: Path) -> None:
    """An object that is there is left as it is, to the inode."""
    store = Objects(tmp_path.as_uri(), public_base="https://assets.example/o/")

    async def run() -> None:
        await store.add_stream("t", chunks(), "a/b", LIMIT)
        before = (tmp_path / files(tmp_path)[0]).stat()
        await store.add_stream("t", chunks(), "a/b", LIMIT)
        await store.add_bytes("t", DATA, "a/b")
        after = (tmp_path / files(tmp_path)[0]).stat()
        assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
        assert store.url("t", SHA) == f"https://assets.example/o/objects/t/{SHA[:2]}/{SHA}"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("stream", "limit", "expected"),
    [
        (lambda: chunks(b""), LIMIT, "empty_file"),
        (lambda: chunks(), len(DATA) - 1, "too_large"),
        (lambda: chunks(error=AssetError("source_changed")), LIMIT, "source_changed"),
    ],
)
def test_a_stream_that_fails_leaves_nothing(tmp_path: Path, stream, limit: int, expected: str) -> None:
    """An empty, too long or failing stream raises its code and leaves no file behind."""
    store = Objects(tmp_path.as_uri())
    with code(expected):
        asyncio.run(store.add_stream("t", stream(), "a/b", limit))
    assert files(tmp_path) == []


def test_a_cancelled_stream_leaves_nothing(tmp_path: Path) -> None:
    """A task that is cancelled while it stores leaves no file behind, and its stream is closed."""
    store, closed = Objects(tmp_path.as_uri()), []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(2**20)
                await asyncio.sleep(10 if files(tmp_path) else 0)
        finally:
            closed.append(True)

    async def run() -> None:
        task = asyncio.create_task(store.add_stream("t", endless(), "a/b", LIMIT))
        while not files(tmp_path):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed

    asyncio.run(run())
    assert files(tmp_path) == []


def test_create_has_one_winner(store: Objects) -> None:
    """Of many that create a record at once, all see the same one: the first."""

    async def run() -> None:
        bids = [f"bid {i}".encode() for i in range(40)]
        seen = await asyncio.gather(*(store.create("claims/t/x", bid) for bid in bids))
        assert len(set(seen)) == 1
        assert await store.get("claims/t/x") == seen[0]
        assert await store.create("claims/t/x", b"late") == seen[0]

    asyncio.run(run())


def test_records_are_listed_and_deleted(store: Objects) -> None:
    """`keys` lists what lies below a prefix only, sorted; a deleted record may be created anew."""

    async def run() -> None:
        for key in ("results/b", "results/a", "results2/c"):
            await store.create(key, b"1")
        assert await store.keys("results/") == ["results/a", "results/b"]
        assert await store.keys("nothing") == []
        await store.delete("results/a")
        await store.delete("results/a")
        assert await store.get("results/a") is None
        assert await store.create("results/a", b"2") == b"2"

    asyncio.run(run())


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/../b", "a/.hidden", "a/b#1", "a/b\n", "a b", "a/" + "x" * 300])
def test_bad_keys_are_refused(store: Objects, key: str) -> None:
    """A key that could leave the store or hide in it is an error before anything is touched."""
    with pytest.raises(ValueError, match="not a record key"):
        asyncio.run(store.create(key, b"x"))


@pytest.mark.parametrize(("tenant", "sha256"), [("../t", SHA), ("T", SHA), ("", SHA), ("t", "ab"), ("t", "../" + SHA)])
def test_bad_tenants_and_digests_are_refused(store: Objects, tenant: str, sha256: str) -> None:
    """Tenant and digest have one form each, so neither can lead to another's objects."""
    with pytest.raises(ValueError, match="not a tenant"):
        asyncio.run(store.exists(tenant, sha256))
    with pytest.raises(ValueError, match="not a tenant"):
        store.url(tenant, sha256)


def test_a_broken_store_has_a_code(tmp_path: Path) -> None:
    """An error of the store is store_unavailable, and its detail names no absolute path."""
    store = Objects((tmp_path / "s").as_uri())
    (tmp_path / "s" / "claims").write_bytes(b"a file where a folder should be")
    with pytest.raises(AssetError, match="store_unavailable") as raised:
        asyncio.run(store.create("claims/t/x", b"x"))
    assert str(tmp_path) not in str(raised.value)
