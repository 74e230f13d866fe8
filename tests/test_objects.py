"""The object store: in a folder, in memory, and on S3, by parts and at once."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import buckets
import pytest

from schemas.errors import AssetError
from schemas.ports import ObjectStore
from sinks.objects import Objects
from sinks.s3 import S3Objects

DATA = random.Random(1).randbytes(11 * 2**20 + 17)
SHA = hashlib.sha256(DATA).hexdigest()
LIMIT = 2**30


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with buckets.bucket() as url:
        yield url


@pytest.fixture(
    params=[
        "file",
        "memory",
        pytest.param("S3 by parts", marks=pytest.mark.services),
        pytest.param("S3 at once", marks=pytest.mark.services),
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if not request.param.startswith("S3"):
        return Objects((tmp_path / "a store").as_uri() if request.param == "file" else "memory:///")
    url = f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"
    at_once = S3Objects(url, buckets.ACCOUNT, part=2 * len(DATA))
    return buckets.by_parts(url) if request.param == "S3 by parts" else at_once


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


async def nothing(store: ObjectStore) -> bool:
    """Whether there is no object, and nothing half-made either."""
    return not await store.keys("objects") and not await store.left(-1)


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_every_way_in_gives_the_same_object(store: ObjectStore, tmp_path: Path) -> None:
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
        assert await store.left(-1) == []
        assert await store.read("t", SHA) == DATA

    asyncio.run(run())


def test_local_gives_a_file_to_read(store: ObjectStore, tmp_path: Path) -> None:
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


def test_objects_belong_to_one_tenant(store: ObjectStore) -> None:
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


def test_an_archived_object_is_read_as_before(store: ObjectStore, tmp_path: Path) -> None:
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
    ids=["empty", "too long", "failing"],
)
def test_a_stream_that_fails_leaves_nothing(store: ObjectStore, stream, limit: int, expected: str) -> None:
    """An empty, too long or failing stream raises its code and leaves nothing behind."""

    async def run() -> None:
        with code(expected):
            await store.add_stream("t", stream(), "a/b", limit)
        assert await nothing(store)

    asyncio.run(run())


def test_a_failed_stream_leaves_no_file(tmp_path: Path) -> None:
    """In a folder nothing at all is left of a stream that failed."""
    with code("too_large"):
        asyncio.run(Objects(tmp_path.as_uri()).add_stream("t", chunks(), "a/b", len(DATA) - 1))
    assert files(tmp_path) == []


def test_a_cancelled_stream_leaves_nothing(store: ObjectStore) -> None:
    """A task that is cancelled while it stores leaves nothing behind, and its stream is closed."""
    closed: list[bool] = []

    async def run() -> None:
        begun = asyncio.Event()

        async def stalled() -> AsyncIterator[bytes]:
            try:
                async for chunk in chunks():
                    yield chunk
                begun.set()
                await asyncio.sleep(60)
            finally:
                closed.append(True)

        task = asyncio.create_task(store.add_stream("t", stalled(), "a/b", LIMIT))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed
        assert await nothing(store)

    asyncio.run(run())


def test_many_writers_of_the_same_content_make_one_object(store: ObjectStore, tmp_path: Path) -> None:
    """Writers of the same bytes at once, in every way, all end well and leave one object and nothing else."""
    source = tmp_path / "source.bin"
    source.write_bytes(DATA)

    async def run() -> None:
        refs = await asyncio.gather(
            *(store.add_stream("t", chunks(), "a/b", LIMIT) for _ in range(2)),
            *(store.add_file("t", source, "a/b") for _ in range(2)),
            *(store.add_bytes("t", DATA, "a/b") for _ in range(2)),
        )
        assert {ref.sha256 for ref in refs} == {SHA}
        assert await store.keys("objects") == [f"objects/t/{SHA[:2]}/{SHA}"]
        assert await store.left(-1) == []
        assert await store.read("t", SHA) == DATA

    asyncio.run(run())


def test_no_bytes_are_an_object_too(store: ObjectStore, tmp_path: Path) -> None:
    """A file or bytes of length 0 are stored and read like others."""
    (tmp_path / "empty").touch()

    async def run() -> None:
        ref = await store.add_file("t", tmp_path / "empty", "a/b")
        assert ref == await store.add_bytes("t", b"", "a/b")
        async with store.local("t", ref.sha256, tmp_path) as path:
            assert path.read_bytes() == await store.read("t", ref.sha256) == b""

    asyncio.run(run())


def test_signed_urls_are_for_objects(store: ObjectStore) -> None:
    """A signed URL leads to the object's key, and a bad digest has none."""
    assert f"objects/t/{SHA[:2]}/{SHA}" in asyncio.run(store.signed_url("t", SHA, 60))
    with pytest.raises(ValueError, match="not a tenant"):
        asyncio.run(store.signed_url("t", "../x", 60))


def test_create_has_one_winner(store: ObjectStore) -> None:
    """Of many that create a record at once, all see the same one: the first."""

    async def run() -> None:
        bids = [f"bid {i}".encode() for i in range(40)]
        seen = await asyncio.gather(*(store.create("claims/t/x", bid) for bid in bids))
        assert len(set(seen)) == 1
        assert await store.get("claims/t/x") == seen[0]
        assert await store.create("claims/t/x", b"late") == seen[0]

    asyncio.run(run())


def test_records_are_listed_and_deleted(store: ObjectStore) -> None:
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
def test_bad_keys_are_refused(store: ObjectStore, key: str) -> None:
    """A key that could leave the store or hide in it is an error before anything is touched."""
    with pytest.raises(ValueError, match="not a record key"):
        asyncio.run(store.create(key, b"x"))


@pytest.mark.parametrize(("tenant", "sha256"), [("../t", SHA), ("T", SHA), ("", SHA), ("t", "ab"), ("t", "../" + SHA)])
def test_bad_tenants_and_digests_are_refused(store: ObjectStore, tenant: str, sha256: str) -> None:
    """Tenant and digest have one form each, so neither can lead to another's objects."""
    with pytest.raises(ValueError, match="not a tenant"):
        asyncio.run(store.exists(tenant, sha256))
    with pytest.raises(ValueError, match="not a tenant"):
        store.url(tenant, sha256)


def test_damage_has_a_code(tmp_path: Path) -> None:
    """Bytes that are not those of the digest are not handed out."""
    store = Objects(tmp_path.as_uri())
    asyncio.run(store.add_bytes("t", DATA, "a/b"))
    (tmp_path / f"objects/t/{SHA[:2]}/{SHA}").write_bytes(b"other")
    with code("object_damaged"):
        asyncio.run(store.read("t", SHA))


def test_a_broken_store_has_a_code(tmp_path: Path) -> None:
    """An error of the store is store_unavailable, and its detail names no absolute path."""
    store = Objects((tmp_path / "s").as_uri())
    (tmp_path / "s" / "claims").write_bytes(b"a file where a folder should be")
    with pytest.raises(AssetError, match="store_unavailable") as raised:
        asyncio.run(store.create("claims/t/x", b"x"))
    assert str(tmp_path) not in str(raised.value)


def test_private_files_are_replaced_whole_and_end_with_the_day(tmp_path: Path) -> None:
    """They lie in a folder of this user's alone, are never left-overs, and are swept when they are a day old."""
    root, key = tmp_path / "store", "first/t/asset/job/preview.m3u8"

    async def run() -> None:
        store = Objects(root.as_uri())
        for data in (b"first", b"second"):
            await store.put(key, data, "text/plain")
        assert await store.get(key) == b"second"
        assert await store.private_url(key, 60) == (root / key).as_uri()
        assert (root / "first").stat().st_mode & 0o777 == 0o700
        assert await store.left(-1) == [] and await store.sweep(-1) == 0
        assert await store.get(key) is not None
        os.utime(root / key, (0, 0))
        assert await store.sweep() == 0
        assert await store.get(key) is None

    asyncio.run(run())


def test_a_range_is_that_of_the_object(tmp_path: Path) -> None:
    """Start and end are bytes from the object's start; what is not there is an error with a code."""

    async def run() -> None:
        store = Objects((tmp_path / "store").as_uri())
        ref = await store.add_bytes("t", bytes(range(200)), "a/b")
        assert await store.read_range("t", ref.sha256, 10, 20) == bytes(range(10, 20))
        with pytest.raises(AssetError, match="object_missing"):
            await store.read_range("t", "0" * 64, 0, 1)

    asyncio.run(run())
