"""Both vector indexes as tests use them: entries to put, handles of one index, and its removal from the server."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from chaos.servers import WEAVIATE, WEAVIATE_GRPC
from schemas import ids
from schemas.ports import IndexEntry, VectorIndex
from sinks.lance import LanceIndex
from sinks.weaviate_client import Link, Policy
from sinks.weaviate_index import WeaviateIndex

SPACE = "org/model-v1.0@abc123/int8+mean"
OTHER = "org/other@1+cls"

Handles = Callable[[], VectorIndex]
T = TypeVar("T")


def entry(asset: str = "a", moment: str = "", angle: float = 0.0, space: str = SPACE, **fields: Any) -> IndexEntry:
    """Its vector, of 4 dimensions, is at this angle (degrees) from the first axis."""
    vector = (math.cos(math.radians(angle)), math.sin(math.radians(angle)), 0.0, 0.0)
    known = {"tenant": "t", "kind": "video", "vector": vector} | fields
    return IndexEntry(id=ids.index_id(asset, space, moment), asset_id=asset, moment=moment, **known)


def play(index: VectorIndex, body: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs the body on a loop of its own, and closes the index."""

    async def closed() -> T:
        try:
            return await body()
        finally:
            await index.close()

    return asyncio.run(closed())


@contextmanager
def weaviate_url(address: str = WEAVIATE, grpc: str = WEAVIATE_GRPC) -> Iterator[str]:
    """The URL of an index of its own on the server, which is removed at the end."""
    prefix = f"T{uuid.uuid4().hex[:12]}"
    try:
        yield f"weaviate://{address}/{prefix}?grpc={grpc.rpartition(':')[2]}"
    finally:
        drop(prefix)


def drop(prefix: str) -> None:
    """Removes all collections and aliases whose names begin so."""
    with httpx.Client(base_url=f"http://{WEAVIATE}/v1", timeout=120) as server:
        for alias in server.get("/aliases").json()["aliases"] or ():
            if alias["alias"].startswith(prefix):
                server.delete(f"/aliases/{alias['alias']}").raise_for_status()
        for found in server.get("/schema").json()["classes"]:
            if found["class"].startswith(prefix):
                server.delete(f"/schema/{found['class']}").raise_for_status()


def weaviate_index(url: str, **options: Any) -> WeaviateIndex:
    """A handle of its own to the index at a URL, with these fields of its policy."""
    return WeaviateIndex(Link(url), Policy(**options))


@pytest.fixture(params=["lance", pytest.param("weaviate", marks=pytest.mark.services)])
def handles(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Handles]:
    """Makes handles to one new index, as different processes have them."""
    if request.param == "lance":
        yield lambda: LanceIndex(tmp_path / "index")
        return
    with weaviate_url() as url:
        yield lambda: weaviate_index(url)


async def both(*work: Awaitable[Any]) -> list[Any]:
    """All at once; the first error is raised."""
    return list(await asyncio.gather(*work))
