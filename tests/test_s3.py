"""The object store on a real S3 server: what is sent, how it ends, and who may read it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import time
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import buckets
import httpx
import pytest

import sinks.s3
from chaos.servers import S3
from schemas.asset import ObjectKind
from schemas.errors import AssetError
from sinks import s3_bucket
from sinks.s3 import Policy, S3Objects

pytestmark = pytest.mark.services

DATA = random.Random(1).randbytes(2 * buckets.SMALL_PART + 17)
SHA = hashlib.sha256(DATA).hexdigest()
SMALL = b"small"
SMALL_SHA = hashlib.sha256(SMALL).hexdigest()
LIMIT = 2**30


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with buckets.bucket() as url:
        yield url


@pytest.fixture
def url(bucket: str) -> str:
    return f"{bucket}/{uuid.uuid4().hex}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "source.bin").write_bytes(DATA)
    return tmp_path / "source.bin"


async def chunks(data: bytes = DATA) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


async def tags_of(store: S3Objects, sha256: str) -> dict[str, str]:
    answer = await store._bucket.call("get_object_tagging", f"objects/t/{sha256[:2]}/{sha256}")
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


def test_small_content_is_one_conditional_put(url: str) -> None:
    """What fits in a part is put under its key if absent, with its SHA-256, in one request."""
    store = S3Objects(url, buckets.ACCOUNT)

    async def run() -> None:
        seen = await buckets.requests(store)
        await store.add_stream("t", chunks(SMALL), "a/b", LIMIT)
        ((name, params),) = seen
        assert (name, params["IfNoneMatch"]) == ("PutObject", "*")
        assert params["ChecksumSHA256"] == b64encode(bytes.fromhex(SMALL_SHA)).decode()
        assert params["Key"].endswith(f"objects/t/{SMALL_SHA[:2]}/{SMALL_SHA}")

    asyncio.run(run())


def test_a_stream_is_staged_and_copied(url: str) -> None:
    """A larger stream goes by parts with their SHA-256 below `tmp/`, and is copied to its key on the server."""
    store = buckets.by_parts(url)
    store._copied_at_once = LIMIT

    async def run() -> None:
        seen = await buckets.requests(store)
        await store.add_stream("t", chunks(), "a/b", LIMIT)
        assert [name for name, _ in seen] == [
            "CreateMultipartUpload", *["UploadPart"] * 3, "CompleteMultipartUpload", "CopyObject"
        ]  # fmt: skip
        staged = {params["Key"] for _, params in seen[:-1]}
        assert len(staged) == 1
        assert "/tmp/" in staged.pop()
        assert all("ChecksumSHA256" in params for name, params in seen if name == "UploadPart")

    asyncio.run(run())


def test_what_is_too_large_for_one_copy_is_copied_by_parts(url: str) -> None:
    """Above the limit of one request the server copies ranges, which hold the whole object once."""
    store = buckets.by_parts(url)

    async def run() -> None:
        seen = await buckets.requests(store)
        await store.add_stream("t", chunks(), "video/mp4", LIMIT)
        part, last = buckets.SMALL_PART, len(DATA) - 1
        assert [params["CopySourceRange"] for name, params in seen if name == "UploadPartCopy"] == [
            f"bytes=0-{part - 1}", f"bytes={part}-{2 * part - 1}", f"bytes={2 * part}-{last}"
        ]  # fmt: skip
        assert "CopyObject" not in [name for name, _ in seen]
        assert await store.read("t", SHA) == DATA
        assert (await store._head(f"objects/t/{SHA[:2]}/{SHA}"))["ContentType"] == "video/mp4"

    asyncio.run(run())


def test_a_file_goes_to_its_key_by_parts(url: str, file: Path) -> None:
    """A larger file is hashed first, so its parts need no staging; storing it again sends none of them."""
    store = buckets.by_parts(url)

    async def run() -> None:
        seen = await buckets.requests(store)
        await store.add_file("t", file, "a/b")
        assert [name for name, _ in seen] == ["CreateMultipartUpload", *["UploadPart"] * 3, "CompleteMultipartUpload"]
        assert all(SHA in params["Key"] for _, params in seen)
        seen.clear()
        await store.add_file("t", file, "a/b")
        await store.add_bytes("t", DATA, "a/b")
        assert seen == []

    asyncio.run(run())


def test_a_file_that_changes_is_not_stored(url: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose bytes are others than those that were hashed raises source_changed and leaves nothing."""
    store = buckets.by_parts(url)
    monkeypatch.setattr(sinks.s3, "_sha256_of", lambda _path: SMALL_SHA)

    async def run() -> None:
        with pytest.raises(AssetError, match="source_changed"):
            await store.add_file("t", file, "a/b")
        assert await store.keys("objects") == await store.left(-1) == []

    asyncio.run(run())


def test_at_most_two_parts_are_on_their_way(url: str) -> None:
    """However long a stream is, memory holds few of its parts: the source waits for the store."""
    store, given, sent, ahead = buckets.by_parts(url), 0, 0, []

    async def source() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(8 * buckets.SMALL_PART // 2**20):
            given += 2**20
            ahead.append(given - sent)
            yield bytes(2**20)

    async def run() -> None:
        def count(**_rest: Any) -> None:
            nonlocal sent
            sent += buckets.SMALL_PART

        client = await (await store._bucket._session()).set_session()
        client.meta.events.register("after-call.s3.UploadPart", count)
        await store.add_stream("t", source(), "a/b", LIMIT)

    asyncio.run(run())
    assert max(ahead) <= 3 * buckets.SMALL_PART


def test_parts_are_as_large_as_the_limit_demands(url: str) -> None:
    """10,000 parts hold the largest stream that is allowed, and all but the last are of one size."""
    size = sinks.s3.multipart.part_size(sinks.s3.PART, 20 * 2**30)
    assert size == sinks.s3.PART
    assert sinks.s3.multipart.part_size(sinks.s3.PART, 2**40 + 1) * 10_000 >= 2**40 + 1
    store = S3Objects(url, buckets.ACCOUNT, part=1)

    async def run() -> None:
        seen = await buckets.requests(store)
        await store.add_stream("t", chunks(), "a/b", 10_000 * buckets.SMALL_PART)
        assert [name for name, _ in seen].count("UploadPart") == 3

    asyncio.run(run())


@pytest.mark.parametrize("kind", ObjectKind)
def test_kinds_are_tags_and_storage_classes(url: str, file: Path, kind: ObjectKind) -> None:
    """Every way in tags the object with its kind and asks for the kind's storage class, where one is set."""
    policy = Policy(storage_classes={ObjectKind.ORIGINAL: "STANDARD_IA"})

    async def run() -> None:
        for name in ("put", "stream", "copied by parts", "file"):
            store = buckets.by_parts(f"{url}/{name.replace(' ', '-')}", policy=policy)
            if name == "stream":
                store._copied_at_once = LIMIT
            seen = await buckets.requests(store)
            if name == "put":
                ref = await store.add_bytes("t", SMALL, "a/b", kind)
            elif name == "file":
                ref = await store.add_file("t", file, "a/b", kind)
            else:
                ref = await store.add_stream("t", chunks(), "a/b", LIMIT, kind)
            assert await tags_of(store, ref.sha256) == {"kind": kind.value}
            asked = {params["StorageClass"] for _, params in seen if "StorageClass" in params}
            assert asked == ({"STANDARD_IA"} if kind == ObjectKind.ORIGINAL else set())

    asyncio.run(run())


@pytest.mark.parametrize("copied_at_once", [LIMIT, buckets.SMALL_PART])
def test_the_archive_is_a_storage_class(url: str, copied_at_once: int) -> None:
    """Archiving copies an object onto itself into the archive's class; its type, tags and bytes stay.

    The test's server keeps no storage classes, so what is asked of it is looked at.
    """
    store = buckets.by_parts(url, policy=Policy(archive_class="GLACIER_IR"))
    store._copied_at_once = copied_at_once
    by_parts = copied_at_once < len(DATA)

    async def run() -> None:
        await store.add_bytes("t", DATA, "video/mp4", ObjectKind.ORIGINAL)
        seen = await buckets.requests(store)
        await store.archive("t", SHA)
        name = "CreateMultipartUpload" if by_parts else "CopyObject"
        (asked,) = [params for sent, params in seen if sent == name]
        assert (asked["StorageClass"], asked["Tagging"]) == ("GLACIER_IR", "kind=original")
        assert asked["ContentType"] == "video/mp4"
        assert await tags_of(store, SHA) == {"kind": "original"}
        assert await store.read("t", SHA) == DATA
        assert await store.left(-1) == []

    asyncio.run(run())


def test_an_archived_object_is_not_copied_again(url: str) -> None:
    """An object that is in the archive's class already is left as it is, and no class means no archive."""

    async def run() -> None:
        for archive_class in ("STANDARD", ""):
            store = S3Objects(url, buckets.ACCOUNT, Policy(archive_class=archive_class))
            await store.add_bytes("t", SMALL, "a/b")
            seen = await buckets.requests(store)
            await store.archive("t", SMALL_SHA)
            assert [name for name, _ in seen] == ["HeadObject"]

    asyncio.run(run())


def test_a_service_without_tags_is_sent_none(url: str) -> None:
    """Without tags no request names one: R2 refuses those that do."""
    store = buckets.by_parts(url, policy=Policy(tags=False))

    async def run() -> None:
        seen = await buckets.requests(store)
        for copied_at_once in (LIMIT, buckets.SMALL_PART):
            store._copied_at_once = copied_at_once
            await store.add_stream("t", chunks(), "a/b", LIMIT)
            await store.archive("t", SHA)
            await store.remove("t", SHA)
        assert {"CopyObject", "UploadPartCopy"} <= {name for name, _ in seen}
        assert [name for name, params in seen if "Tagging" in "".join((name, *params))] == []

    asyncio.run(run())


def test_signed_urls_are_read_until_they_expire(url: str) -> None:
    """A signed URL gives the object, with its type and for no cache; late, changed or unsigned it gives nothing."""
    store = S3Objects(url, buckets.ACCOUNT)

    async def signed(seconds: int) -> str:
        await store.add_bytes("t", SMALL, "video/mp4")
        return await store.signed_url("t", SMALL_SHA, seconds)

    good = asyncio.run(signed(60))
    answer = httpx.get(good)
    assert (answer.status_code, answer.content) == (200, SMALL)
    assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("video/mp4", "no-store")
    assert buckets.ACCOUNT.secret_key not in good
    for bad in (good.replace("no-store", "public"), good.partition("?")[0]):
        assert httpx.get(bad).status_code == 403
    late = asyncio.run(signed(1))
    time.sleep(2.1)
    assert httpx.get(late).status_code == 403


@pytest.mark.parametrize("seconds", [0, -1, 7 * 86_400 + 1])
def test_a_signature_lasts_a_week_at_most(url: str, seconds: int) -> None:
    """S3 refuses longer ones only when they are used, so they are refused here."""
    with pytest.raises(ValueError, match="signed URL"):
        asyncio.run(S3Objects(url, buckets.ACCOUNT).signed_url("t", SHA, seconds))


def test_damage_is_not_handed_out(url: str, tmp_path: Path) -> None:
    """Bytes that are not those of the digest raise object_damaged, and no file of them stays."""
    store = S3Objects(url, buckets.ACCOUNT)

    async def run() -> None:
        await store._bucket.call("put_object", f"objects/t/{SHA[:2]}/{SHA}", Body=DATA[:-1] + b"x")
        with pytest.raises(AssetError, match="object_damaged"):
            await store.read("t", SHA)
        with pytest.raises(AssetError, match="object_damaged"):
            async with store.local("t", SHA, tmp_path):
                pass

    asyncio.run(run())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_has_a_code(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the scratch folder has no room for the object, the code says so, and no file stays."""
    store, number = S3Objects(url, buckets.ACCOUNT), uuid.uuid4()
    (tmp_path / f"{SHA}.{number.hex[:8]}").symlink_to("/dev/full")
    monkeypatch.setattr(sinks.s3, "uuid4", lambda: number)

    async def run() -> None:
        await store.add_bytes("t", DATA, "a/b")
        with pytest.raises(AssetError, match="scratch_full"):
            async with store.local("t", SHA, tmp_path):
                pass

    asyncio.run(run())
    assert list(tmp_path.iterdir()) == []


def test_listings_have_pages(url: str) -> None:
    """More records and more unfinished uploads than one answer lists are all found, and swept."""
    store = S3Objects(url, buckets.ACCOUNT)
    names = [f"results/{number:04}" for number in range(1_050)]

    async def run() -> None:
        limit = asyncio.Semaphore(16)

        async def make(name: str) -> None:
            async with limit:
                await store.create(name, b"1")
                await store._bucket.call("create_multipart_upload", f"tmp/{name}")

        await asyncio.gather(*(make(name) for name in names))
        assert await store.keys("results") == names
        assert await store.left(-1) == [f"tmp/{name}" for name in names]
        assert await store.left(3600) == []
        assert await store.sweep(-1) == len(names)
        assert await store.left(-1) == []

    asyncio.run(run())


def test_each_loop_has_a_session_that_ends_with_it(url: str) -> None:
    """One store serves loops after each other and beside each other, and keeps no connection of a loop that ended."""
    store = S3Objects(url, buckets.ACCOUNT)
    ended: list[int] = []

    async def use() -> None:
        await asyncio.gather(*(store.add_bytes("t", uuid.uuid4().bytes, "a/b") for _ in range(3)))
        ended.append(len(s3_bucket._sessions))

    threads = [threading.Thread(target=asyncio.run, args=(use(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(use())
    assert len(ended) == 3
    assert ended[-1] == 1
    assert s3_bucket._sessions == {}


def test_stable_urls_have_a_public_base(url: str) -> None:
    """A URL is the public base and the key, or else the bucket's own."""
    key = f"objects/t/{SHA[:2]}/{SHA}"
    public = S3Objects(url, buckets.ACCOUNT, Policy(public_base="https://cdn.example/a/"))
    assert public.url("t", SHA) == f"https://cdn.example/a/{key}"
    assert S3Objects(url, buckets.ACCOUNT).url("t", SHA) == f"{url}/{key}"
    assert S3 not in S3Objects(url, buckets.ACCOUNT).url("t", SHA)
