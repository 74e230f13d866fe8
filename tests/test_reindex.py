"""`reindex`: a new index in the old one's place, which nobody notices, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import kept_runs
import pytest
from flow_runs import Place
from indexes import weaviate_url
from registry import MOMENTS, QUERY, SPACE, Registry
from typer.testing import CliRunner

from chaos.servers import WEAVIATE
from dataflows import cli, maintenance, reindexing
from dataflows.connections import index_of, objects_of
from dataflows.running import Busy, alone
from schemas.errors import AssetError
from schemas.manifest import Manifest
from schemas.ports import VectorIndex
from schemas.settings import Settings

Meanwhile = Callable[[], Awaitable[None]]


@pytest.fixture(params=["lance", pytest.param("weaviate", marks=pytest.mark.services)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """A finished run, with an index that holds what its own did."""
    out = kept_runs.kept(tmp_path).out
    if request.param == "lance":
        yield Settings(out=out)
        return
    with weaviate_url() as url:
        yield Settings(out=out, index=url)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Settings]:
    """A finished run whose index is served, and still empty."""
    with weaviate_url() as url:
        yield Settings(out=kept_runs.kept(tmp_path).out, index=url)


async def wanted(settings: Settings) -> dict[str, str]:
    """The entries that the newest manifests name, id -> asset."""
    store, newest = objects_of(settings), {}
    for key in await store.keys("manifests"):
        found = Manifest.model_validate_json(await store.get(key) or b"")
        newest[found.asset_id] = found
    return {entry: m.asset_id for m in newest.values() for entries in m.index.values() for entry in entries}


async def held(index: VectorIndex) -> dict[str, str]:
    """The entries of an index, which are both in a space and among the words."""
    vectors, words = await index.entries()
    assert vectors == words
    return vectors


def test_what_was_lost_comes_back(settings: Settings) -> None:
    """After the command, an index that lost an asset, and had one that nobody knows, is what the manifests say."""

    async def spoil() -> None:
        registry = Registry(settings)
        await reindexing.reindex(settings)
        assert await held(registry.index) == await wanted(settings)
        await registry.index.retire(kept_runs.called("one.png"), "default", keep=())
        await registry.put(await registry.manifest("unknown"))
        await registry.index.close()

    asyncio.run(spoil())
    assert {p.code for p in asyncio.run(maintenance.verify(settings)).problems} == {"index_missing", "index_extra"}
    command = ["reindex", "--out", str(settings.out), "--json"]
    done = CliRunner().invoke(cli.app, command, env={"ASSET_PIPELINE_INDEX": settings.index})
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["assets"], told["left_out"]) == (4, [])
    assert asyncio.run(maintenance.verify(settings)).clean


def test_vectors_that_are_gone_are_named(settings: Settings) -> None:
    """An asset whose vectors nobody can read is left out by name, and the others are there."""

    async def run() -> None:
        registry = Registry(settings)
        lost = await registry.register("lost")
        await registry.store.remove(lost.tenant, lost.steps[0].outputs[0].sha256)
        told = await reindexing.reindex(settings)
        assert told["left_out"] == [lost.asset_id]
        assert lost.asset_id not in (await held(registry.index)).values()
        assert len(set((await held(registry.index)).values())) == 4
        await registry.index.close()

    asyncio.run(run())


def test_a_search_never_sees_less(settings: Settings) -> None:
    """While an index is rebuilt twice, every search finds every asset that was there all the time, by both ways."""
    seen: list[int] = []

    async def search(registry: Registry, done: asyncio.Event) -> None:
        reader, many = index_of(settings), 40 * MOMENTS
        while not done.is_set():
            near = await reader.search(SPACE, QUERY, tenant="default", limit=many)
            told = await reader.words("rocket", tenant="default", limit=many)
            seen.append(len({hit.asset_id for hit in near}))
            assert len(near) == len(told) == many
            await asyncio.sleep(0.002)
        await reader.close()

    async def run() -> None:
        registry, done = Registry(settings), asyncio.Event()
        for i in range(40):
            await registry.register(f"asset-{i}")
        searching = asyncio.create_task(search(registry, done))
        for _ in range(2):
            await reindexing.reindex(settings)
        done.set()
        await searching
        await registry.index.close()

    asyncio.run(run())
    assert len(seen) > 10 and set(seen) == {40}


@pytest.mark.services
def test_what_changes_meanwhile_is_made_up_for(served: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Assets registered, changed and deleted during the build, and just before the replacement, are as they should."""

    async def run() -> None:
        registry = Registry(served)
        await reindexing.reindex(served)
        early = [await registry.register(f"early-{i}") for i in range(4)]

        async def during() -> None:
            await registry.register("new")
            await registry.register("early-0", version=2)
            await registry.delete(early[1])

        async def at_the_end() -> None:
            await registry.register("newer")
            await registry.register("early-2", version=2)
            await registry.delete(early[3])

        after_first(monkeypatch, reindexing.Build, "catch_up", during)
        before(monkeypatch, type(registry.index), "adopt", at_the_end)
        told = await reindexing.reindex(served)
        there = await held(registry.index)
        assert there == await wanted(served)
        assert told["entries"] == len(there)
        assert {m.asset_id for m in (early[1], early[3])}.isdisjoint(there.values())
        await registry.index.close()

    asyncio.run(run())


@pytest.mark.services
def test_an_asset_between_index_and_manifest_is_put_again(served: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that went into the old index, of an asset whose manifest came too late, are missed by its own stage."""

    async def run() -> None:
        registry = Registry(served)
        late = await registry.manifest("late")
        before(monkeypatch, type(registry.index), "adopt", lambda: registry.put(late))
        await reindexing.reindex(served)
        with pytest.raises(AssetError, match=f"{MOMENTS} entries") as raised:
            await registry.write(late)
        assert raised.value.transient
        await registry.register("late")
        assert await held(registry.index) == await wanted(served)
        await registry.index.close()

    asyncio.run(run())


def after_first(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, meanwhile: Meanwhile) -> None:
    """Does something once, after the first call of a method."""
    known, calls = getattr(owner, name), []

    async def called(*arguments: Any) -> Any:
        answer = await known(*arguments)
        calls.append(name)
        if len(calls) == 1:
            await meanwhile()
            return True
        return answer

    monkeypatch.setattr(owner, name, called)


def before(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, meanwhile: Meanwhile) -> None:
    """Does something before each call of a method."""
    known = getattr(owner, name)

    async def called(*arguments: Any) -> Any:
        await meanwhile()
        return await known(*arguments)

    monkeypatch.setattr(owner, name, called)


# the command, killed in one of its rounds
KILLED = """
import os, signal
from dataflows import cli, reindexing

rounds, catch_up = iter(range(1, 99)), reindexing.Build.catch_up


async def killed(build):
    if next(rounds) == int(os.environ["KILLED_IN"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return await catch_up(build)


reindexing.Build.catch_up = killed
cli.main()
"""


@pytest.mark.parametrize("round_", [1, 3], ids=["before it is in use", "after"])
def test_a_killed_rebuild_is_run_again(settings: Settings, round_: int) -> None:
    """Killed with -9 while there are two indexes, it changes nothing that a search sees; the next leaves one."""
    place = Place(settings.out, {"ASSET_PIPELINE_INDEX": settings.index, "KILLED_IN": str(round_)})

    async def fill() -> dict[str, str]:
        registry = Registry(settings)
        await reindexing.reindex(settings)
        for i in range(10):
            await registry.register(f"asset-{i}")
        whole = await held(registry.index)
        await registry.index.close()
        return whole

    async def look() -> dict[str, str]:
        index = index_of(settings)
        found = await held(index)
        await index.close()
        return found

    whole = asyncio.run(fill())
    program = (sys.executable, "-c", KILLED)
    with place.started("reindex", "--out", place.out, program=program) as running:
        running.communicate(timeout=120)
    assert running.returncode == -signal.SIGKILL
    assert len(generations(settings)) == 2
    assert asyncio.run(look()) == whole
    told = asyncio.run(reindexing.reindex(settings))
    assert (told["assets"], told["entries"]) == (14, len(whole))
    assert asyncio.run(look()) == whole
    assert len(generations(settings)) == 1


def generations(settings: Settings) -> set[str]:
    """The numbers of the indexes that there are."""
    if not settings.index:
        return {path.name.rpartition("-")[2] for path in settings.out.glob("index-*[0-9]")}
    prefix = settings.index.partition("?")[0].rpartition("/")[2]
    classes = httpx.get(f"http://{WEAVIATE}/v1/schema").json()["classes"]
    return {c["class"].rpartition("_")[2] for c in classes if c["class"].startswith(prefix)}


def test_the_embedded_index_is_rebuilt_alone(tmp_path: Path) -> None:
    """While a flow runs on the folder it is refused."""
    settings = Settings(out=tmp_path)
    with alone(settings.below()), pytest.raises(Busy):
        asyncio.run(reindexing.reindex(settings))


def test_an_empty_folder(tmp_path: Path) -> None:
    """Without any asset the new index is empty."""
    told = asyncio.run(reindexing.reindex(Settings(out=tmp_path)))
    assert (told["assets"], told["entries"], told["left_out"]) == (0, 0, [])
