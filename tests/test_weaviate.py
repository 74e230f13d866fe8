"""The served vector index, beyond what every index does."""

from __future__ import annotations

import asyncio
import math
import operator
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import psutil
import pytest
from indexes import OTHER, SPACE, entry, play, weaviate_index, weaviate_url
from pydantic import ValidationError
from weaviate.classes.data import DataObject
from weaviate.classes.tenants import TenantCreate, TenantCreateActivityStatus

from chaos.servers import WEAVIATE, WEAVIATE_GRPC, proxy
from schemas.errors import AssetError
from schemas.ports import Filter, IndexEntry
from schemas.settings import Settings
from sinks import weaviate_index as module
from sinks.weaviate_client import Link
from sinks.weaviate_index import WeaviateIndex
from sinks.weaviate_rows import ASSETS, KINDS, spaces_of, vector_name
from sinks.weaviate_shards import SHARED
from sinks.weaviate_tenants import ActiveTenants

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

    async def refusing_some(shard: Any, objects: list[DataObject[Any, None]]) -> dict[int, str]:
        requests.append(len(objects))
        refused = {i: "refused by the test" for i in range(len(objects)) if i % 2} if len(requests) < 4 else {}
        await send(shard, [one for i, one in enumerate(objects) if i not in refused])
        return refused

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
        with pytest.raises(AssetError, match=r"2 entries were refused.*dimensions") as raised:
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
def test_organisations_that_share_a_tenant_are_apart(url: str) -> None:
    """Neither queries nor deletions of one reach what another has in the same tenant; few tenants hold them all."""
    index = weaviate_index(url, shared=("small-*",))
    organisations = [f"small-{i}" for i in range(3 * SHARED)]

    async def run() -> None:
        for organisation in (*organisations, "large"):
            await index.put(SPACE, [entry(f"of-{organisation}", tenant=organisation, text="rocket", tags=("x",))])
        assert await index._collections.tenants(ASSETS) != organisations
        assert len(await index._collections.tenants(ASSETS)) <= SHARED + 1
        for organisation in (*organisations, "large"):
            mine = [f"of-{organisation}"]
            for only in (Filter(), Filter(kinds=("video",), tags=("x",))):
                near = await index.search(SPACE, [1, 0, 0, 0], tenant=organisation, only=only)
                told = await index.words("rocket", tenant=organisation, only=only)
                assert [hit.asset_id for hit in near] == [hit.asset_id for hit in told] == mine
            assert await index.vectors(SPACE, "of-large", organisation) == (
                [[1, 0, 0, 0]] if organisation == "large" else []
            )
        for other in organisations[1:]:
            await index.retire("of-small-0", other, keep=())
            assert await index.vectors(SPACE, "of-small-0", other) == []
        assert len(await index.vectors(SPACE, "of-small-0", "small-0")) == 1
        await index.retire("of-small-0", "small-0", keep=())
        assert await index.search(SPACE, [1, 0, 0, 0], tenant="small-0") == []

    play(index, run)


def test_the_least_recently_used_tenants_are_put_away() -> None:
    """Never one in use; those that could not be put away are tried again after the next query."""
    gone: list[str] = []
    broken = [AssetError("index_unavailable")]

    async def deactivate(_kind: str, tenants: list[str]) -> None:
        if broken:
            raise broken.pop()
        gone.extend(tenants)

    async def run() -> None:
        active = ActiveTenants(3, deactivate)
        async with active.use((ASSETS, "held")):
            for name in ("a", "b", "a", "c"):  # four with the one that is held: the first try fails
                async with active.use((ASSETS, name)):
                    pass
            assert gone == []
            async with active.use((ASSETS, "d")):
                pass
            assert gone == ["b", "a"]
        active.found_active([(ASSETS, "old")])
        for name in ("c", "e"):
            async with active.use((ASSETS, name)):
                pass
        assert gone == ["b", "a", "old", "held"]

    asyncio.run(run())


@services
def test_ten_thousand_tenants(url: str) -> None:
    """With ten thousand, written or asked in any order, few are active, and the server's open files stay few."""
    index = weaviate_index(url, active=50)
    names = [f"org-{i}" for i in range(10_000)]
    chosen = random.Random(4)
    written = chosen.sample(names, 300)

    async def run() -> None:
        await index.put(SPACE, [entry("first")])
        collection = await index._collections._concrete(ASSETS)
        inactive = [TenantCreate(name=n, activity_status=TenantCreateActivityStatus.INACTIVE) for n in names]
        for start in range(0, len(names), 1000):
            await collection.tenants.create(inactive[start : start + 1000])
        before, opened = files(), []
        for name in written:
            await index.put(SPACE, [entry(f"of-{name}", tenant=name, text="rocket")])
            opened.append(files())
        for name in chosen.sample(written, 100):
            near = await index.search(SPACE, [1, 0, 0, 0], tenant=name)
            told = await index.words("rocket", tenant=name)
            assert [hit.asset_id for hit in near] == [hit.asset_id for hit in told] == [f"of-{name}"]
            opened.append(files())
        for name in chosen.sample(sorted(set(names) - set(written)), 100):
            assert await index.search(SPACE, [1, 0, 0, 0], tenant=name) == []
            opened.append(files())
        assert len(await index._collections.tenants(ASSETS)) == len(names) + 1
        assert len(await index._collections.tenants(ASSETS, only_active=True)) <= 60
        # 12 for each active one, and what the server only closes when it collects garbage
        assert max(opened) - before < 12 * 60 + 4 * 500

    play(index, run)


def files() -> int:
    """The files that the server has open, as far as they can be counted."""
    for process in psutil.process_iter(["cmdline"]):
        if any("weaviate-server" in part for part in process.info["cmdline"] or ()):
            return process.num_fds()
    return 0


@services
def test_a_new_process_counts_what_is_active(url: str) -> None:
    """Tenants that an earlier process left active are put away as the least recently used."""
    first, second = weaviate_index(url), weaviate_index(url, active=3)

    async def run() -> None:
        for i in range(8):
            await first.put(SPACE, [entry(tenant=f"t{i}")])
        await first.close()
        await second.put(SPACE, [entry(tenant="mine")])
        active = await second._collections.tenants(ASSETS, only_active=True)
        assert "mine" in active and len(active) <= 3

    play(second, run)


@services
def test_processes_that_put_away_each_others_tenants(url: str) -> None:
    """Each of two keeps one tenant active, and both use the same five at once: no answer lacks anything, ever."""
    first, second = (weaviate_index(url, active=1) for _ in range(2))
    chosen, put = random.Random(5), list[IndexEntry]()

    async def use(index: WeaviateIndex, round_: int) -> None:
        for i in range(25):
            tenant = f"t{chosen.randrange(5)}"
            if i % 5 == 0:
                added = entry(f"{round_}-{i}", tenant=tenant)
                await index.put(SPACE, [added])
                put.append(added)
            hits = await index.search(SPACE, [1, 0, 0, 0], tenant=tenant, only=Filter(kinds=("image",)))
            assert [hit.asset_id for hit in hits] == ["still"]

    async def run() -> None:
        for i in range(5):
            await first.put(SPACE, [entry("still", kind="image", tenant=f"t{i}")])
        await asyncio.gather(*(use(index, round_) for round_, index in enumerate((first, second, first, second))))
        for i in range(5):
            hits = await first.search(SPACE, [1, 0, 0, 0], tenant=f"t{i}", only=Filter(kinds=("video",)), limit=50)
            assert {hit.asset_id for hit in hits} == {one.asset_id for one in put if one.tenant == f"t{i}"}
        await second.close()

    play(first, run)


@services
def test_a_tenant_that_is_put_away_while_it_is_used(url: str) -> None:
    """The server may leave such a tenant shut; it is opened again, and every search finds what is there."""
    index, other = weaviate_index(url), weaviate_index(url)
    tenants, chosen = [f"t{i}" for i in range(6)], random.Random(7)

    async def search(tenant: str, until: float) -> None:
        while asyncio.get_running_loop().time() < until:
            assert len(await index.search(SPACE, [1, 0, 0, 0], tenant=tenant)) == 1

    async def put_away(until: float) -> None:
        while asyncio.get_running_loop().time() < until:
            with suppress(AssetError):  # "still in use"
                await other._collections.deactivate(ASSETS, chosen.sample(tenants, 3))

    async def run() -> None:
        for tenant in tenants:
            await index.put(SPACE, [entry(tenant=tenant)])
        until = asyncio.get_running_loop().time() + 4
        await asyncio.gather(put_away(until), *(search(tenant, until) for tenant in tenants * 2))
        await search(tenants[0], until + 1)
        await other.close()

    play(index, run)


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[WeaviateIndex, Any, Any]]:
    """An index behind two proxies, one before each of the server's ports."""
    with proxy(WEAVIATE) as http, proxy(WEAVIATE_GRPC) as grpc, weaviate_url(http.address, grpc.address) as url:
        index = weaviate_index(url)
        try:
            yield index, http, grpc
        finally:
            await index.close()


@services
@pytest.mark.parametrize("fault", ["down", "half_open"])
def test_a_server_that_is_away(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is index_unavailable within its time, before the first connection and after; then it goes on."""
    for name in ("QUERY_S", "INSERT_S"):
        monkeypatch.setattr(module, name, 1.0)
    monkeypatch.setattr("sinks.weaviate_client.CONNECT_S", 1.0)

    async def run() -> None:
        async with proxied() as (index, http, grpc):
            with getattr(http, fault)():
                await refused(index.put(SPACE, [entry()]))
            await index.put(SPACE, [entry()])
            with getattr(grpc, fault)():
                await refused(index.put(SPACE, [entry()]))
                await refused(index.search(SPACE, [1, 0, 0, 0], tenant="t"))
                await refused(index.retire("a", "t", keep=()))
            monkeypatch.setattr(module, "QUERY_S", 30.0)
            assert len(await index.search(SPACE, [1, 0, 0, 0], tenant="t")) == 1

    async def refused(work: Any) -> None:
        with pytest.raises(AssetError) as raised:
            async with asyncio.timeout(10):
                await work
        assert raised.value.code == "index_unavailable"

    asyncio.run(run())


@services
def test_resets_cost_no_entry() -> None:
    """While a fifth of the connections are reset, what put returned from is there, and the rest raised."""
    done: list[str] = []

    async def put(index: WeaviateIndex, name: str) -> None:
        try:
            await index.put(SPACE, [entry(name)])
            done.append(name)
        except AssetError as error:
            assert error.code == "index_unavailable"

    async def run() -> None:
        async with proxied() as (index, _http, grpc):
            await index.put(SPACE, [entry("first")])
            with grpc.reset(20):
                await asyncio.gather(*(put(index, f"a{i}") for i in range(20)))
            hits = await index.search(SPACE, [1, 0, 0, 0], tenant="t", limit=50)
            assert {hit.asset_id for hit in hits} >= {"first", *done}

    asyncio.run(run())


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
