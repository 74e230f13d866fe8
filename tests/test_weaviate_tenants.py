"""Tenants of the served vector index: few are active, small ones are shared, and none sees another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest
from indexes import SPACE, entry, play, weaviate_index, weaviate_url
from weaviate.classes.tenants import TenantCreate, TenantCreateActivityStatus

from schemas.errors import AssetError
from schemas.ports import Filter, IndexEntry
from sinks.weaviate_index import WeaviateIndex
from sinks.weaviate_rows import ASSETS
from sinks.weaviate_shards import SHARED
from sinks.weaviate_tenants import ActiveTenants

services = pytest.mark.services


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of a new index."""
    with weaviate_url() as made:
        yield made


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
