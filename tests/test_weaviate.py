"""The served vector index, beyond what every index does."""

from __future__ import annotations

import asyncio
import math
import operator
import random
from collections.abc import Iterator
from typing import Any

import pytest
from indexes import OTHER, SPACE, entry, play, weaviate_index, weaviate_url
from pydantic import ValidationError
from weaviate.classes.data import DataObject

from schemas.errors import AssetError
from schemas.settings import Settings
from sinks import weaviate_index as module
from sinks.weaviate_client import Link
from sinks.weaviate_rows import ASSETS, KINDS, spaces_of, vector_name

services = pytest.mark.services


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of a new index."""
    with weaviate_url() as made:
        yield made


@pytest.mark.parametrize("space", [SPACE, OTHER, "a_b.c", "ü/%2f?*", "0", "d4_x"])
def test_vector_names_are_reversible(space: str) -> None:
    """A space's id and dimension come back from its vector's name, which the server takes."""
    name = vector_name(space, 384)
    assert spaces_of([name, "another"]) == {space: 384}
    assert name.isascii() and name.replace("_", "").isalnum() and name[0].isalpha()


@pytest.mark.parametrize("space", ["", "x" * 300])
def test_a_space_that_no_vector_can_be_named_by(space: str) -> None:
    """It is refused before anything is sent."""
    with pytest.raises(ValueError, match="characters"):
        vector_name(space, 4)


@pytest.mark.parametrize(
    "url",
    ["weaviate://", "weaviate://host/lower", "weaviate://host/A_1", "weaviate://host:port", "weaviate://host?grpc=x"],
)
def test_wrong_urls(url: str) -> None:
    """A URL without host, with a port that is none, or a prefix that collections cannot begin with is refused."""
    with pytest.raises(ValueError):
        Link(url)
    with pytest.raises(ValidationError):
        Settings(index=url)


@services
def test_many_processes_begin_at_once(url: str) -> None:
    """Handles that all find nothing there and add a space each lose none of it, also where there are data already."""

    async def run() -> None:
        handles = [weaviate_index(url) for _ in range(6)]
        try:
            for round_ in ("first", "second"):
                spaces = [f"{round_}/{i % 4}" for i in range(6)]
                await asyncio.gather(
                    *(h.put(s, [entry(f"a{i}", space=s)]) for i, (h, s) in enumerate(zip(handles, spaces, strict=True)))
                )
            for i, round_ in ((i, r) for i in range(6) for r in ("first", "second")):
                hits = await handles[0].search(f"{round_}/{i % 4}", [1, 0, 0, 0], tenant="t")
                assert f"a{i}" in {hit.asset_id for hit in hits}
            assert len(await handles[0].spaces()) == 8
        finally:
            await asyncio.gather(*(handle.close() for handle in handles))

    asyncio.run(run())


@services
def test_only_refused_objects_are_sent_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server refuses of a request is sent again by itself, until it is taken."""
    requests: list[int] = []
    send = module._sent

    async def refusing_some(shard: Any, objects: list[DataObject[Any, None]]) -> list[str]:
        requests.append(len(objects))
        last = len(requests) == 4
        await send(shard, objects if last else objects[::2])
        return [] if last else ["refused by the test"]

    monkeypatch.setattr(module, "_sent", refusing_some)
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.01, 0.01))
    index = weaviate_index(url)

    async def run() -> None:
        await index.put(SPACE, [entry(f"a{i}") for i in range(20)])
        assert requests == [20, 10, 5, 2]
        assert len(await index.search(SPACE, [1, 0, 0, 0], tenant="t", limit=50)) == 20

    play(index, run)


@services
def test_objects_that_are_refused_for_good_raise(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is index_unavailable, with how many there are and what the server said."""
    monkeypatch.setattr(module, "PAUSES", (0.01,))
    index = weaviate_index(url, vectors="hnsw")

    async def run() -> None:
        await index.put(SPACE, [entry("first")])
        spoilt = await index._collections.of(ASSETS, "spoilt")
        short = DataObject(properties={}, vector={vector_name(SPACE, 4): [1.0, 0.0]})
        assert not (await spoilt.data.insert_many([short])).has_errors
        with pytest.raises(AssetError, match=r"2 entries are not found.*dimensions") as raised:
            await index.put(SPACE, [entry("a", tenant="spoilt"), entry("b", tenant="spoilt"), entry("c")])
        assert raised.value.code == "index_unavailable"
        assert {hit.asset_id for hit in await index.search(SPACE, [1, 0, 0, 0], tenant="t")} == {"first", "c"}

    play(index, run)


@services
def test_a_graph_finds_the_same(url: str) -> None:
    """Searched by a graph, vectors come in the same order as when all are compared."""
    index = weaviate_index(url, vectors="hnsw")
    chosen = random.Random(6)

    def vector() -> tuple[float, ...]:
        drawn = [chosen.gauss(0, 1) for _ in range(32)]
        return tuple(x / math.hypot(*drawn) for x in drawn)

    entries = [entry(f"a{i}", vector=vector(), page=i % 3 or None) for i in range(500)]

    async def run() -> None:
        await index.put(SPACE, entries)
        for _ in range(10):
            wanted = vector()
            nearest = sorted(entries, key=lambda one: -sum(map(operator.mul, one.vector, wanted)))[:10]
            hits = await index.search(SPACE, wanted, tenant="t")
            assert [hit.asset_id for hit in hits] == [one.asset_id for one in nearest]

    play(index, run)


@services
def test_many_entries_in_one_put(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More entries than a request or a page takes, of assets and moments of several organisations, are all there."""
    monkeypatch.setattr(module, "PAGE", 100)
    index = weaviate_index(url)
    moments = [
        entry(f"a{i % 7}", f"{i}.000", i / 10, start_s=float(i) if i % 3 else None, tenant=f"t{i % 2}")
        for i in range(1100)
    ]

    async def run() -> None:
        await index.put(SPACE, moments)
        vectors, _words = await index.entries()
        assert vectors == {moment.id: moment.asset_id for moment in moments}
        found = [len(await index.vectors(SPACE, f"a{i}", f"t{j}")) for i in range(7) for j in range(2)]
        assert sum(found) == len(moments)

    play(index, run)


@services
def test_retiring_more_than_the_server_deletes_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletion goes on until nothing is left but what is kept, and says so where that is not there."""
    index = weaviate_index(url)
    moments = [entry("a", f"{i}", start_s=float(i), text="rocket") for i in range(300)]

    async def run() -> None:
        await index.put(SPACE, moments)
        kept = [moment.id for moment in moments[:250]]
        await index.retire("a", "t", keep=kept)
        assert len(await index.vectors(SPACE, "a", "t")) == 250
        with pytest.raises(AssetError, match="1 entries of a are not in the index"):
            await index.retire("a", "t", keep=[*kept, moments[299].id])

    play(index, run)


@services
def test_nothing_of_an_object_is_logged(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The client's own logs would show the whole of an object that is refused."""
    index = weaviate_index(url)

    async def run() -> None:
        await index.put(SPACE, [entry()])
        shard = await index._collections.of(KINDS[1], "t")
        wrong = DataObject(properties={"text": "private"}, vector={"unknown": [1.0]})
        fine = DataObject(properties={})
        assert (await shard.data.insert_many([wrong, fine])).has_errors

    play(index, run)
    assert "private" not in caplog.text
