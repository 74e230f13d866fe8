"""Faults between us and the served vector index: everything has a code in time, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from indexes import SPACE, entry, weaviate_index, weaviate_url

from chaos.servers import WEAVIATE, WEAVIATE_GRPC, proxy
from schemas.errors import AssetError
from sinks import weaviate_index as module
from sinks.weaviate_index import WeaviateIndex

pytestmark = pytest.mark.services


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[WeaviateIndex, Any, Any]]:
    """An index behind two proxies, one before each of the server's ports."""
    with proxy(WEAVIATE) as http, proxy(WEAVIATE_GRPC) as grpc, weaviate_url(http.address, grpc.address) as url:
        index = weaviate_index(url)
        try:
            yield index, http, grpc
        finally:
            await index.close()


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
