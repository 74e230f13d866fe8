"""The embedded vector index."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from schemas import ids
from schemas.errors import AssetError
from schemas.ports import IndexEntry
from sinks import lance
from sinks.lance import LanceIndex

SPACE = "org/model-v1.0@abc123/int8+mean"
OTHER = "org/other@1+cls"


def entry(asset: str = "a", moment: str = "", angle: float = 0.0, space: str = SPACE, **fields: Any) -> IndexEntry:
    """Its vector, of 4 dimensions, is at this angle (degrees) from the first axis."""
    vector = (math.cos(math.radians(angle)), math.sin(math.radians(angle)), 0.0, 0.0)
    known = {"tenant": "t", "kind": "video", "vector": vector} | fields
    return IndexEntry(id=ids.index_id(asset, space, moment), asset_id=asset, moment=moment, **known)


@pytest.fixture
def index(tmp_path: Path) -> LanceIndex:
    return LanceIndex(str(tmp_path / "index"))


def test_search_orders_by_cosine(index: LanceIndex) -> None:
    """The nearest come first, with the cosine as score and everything of the moment as it was put."""

    async def run() -> None:
        moment = entry("b", "12.000-14.000", 60, start_s=12.0, end_s=14.0, title="B", text="spoken", tags=("x",))
        page = entry("c", "page-3", 90, page=3, kind="document")
        await index.put(SPACE, [page, entry("a", angle=0), moment])
        hits = await index.search(SPACE, [1, 0, 0, 0], tenant="t", limit=2)
        assert [hit.asset_id for hit in hits] == ["a", "b"]
        assert [hit.score for hit in hits] == pytest.approx([1.0, 0.5], abs=1e-5)
        b = hits[1]
        assert (b.moment, b.start_s, b.end_s, b.page) == ("12.000-14.000", 12.0, 14.0, None)
        assert (b.title, b.text, b.space) == ("B", "spoken", SPACE)
        (c,) = await index.search(SPACE, [1, 0, 0, 0], tenant="t", kinds=["document"])
        assert (c.page, c.start_s) == (3, None)

    asyncio.run(run())


def test_putting_again_gives_one_row(index: LanceIndex, tmp_path: Path) -> None:
    """An entry that is put again, from two processes' handles at once, stays one entry, the last one put."""
    second = LanceIndex(str(tmp_path / "index"))

    async def run() -> None:
        await index.put(SPACE, [entry(text="first")])
        await asyncio.gather(*((index, second)[i % 2].put(SPACE, [entry(), entry("b")]) for i in range(6)))
        await index.put(SPACE, [entry(text="twice in one call"), entry(text="last", angle=90)])
        assert len(await index.search(SPACE, [1, 0, 0, 0], tenant="t")) == 2
        assert [hit.text for hit in await index.words("last", tenant="t")] == ["last"]
        assert await index.words("first", tenant="t") == []
        assert await index.vectors(SPACE, "a", "t") == [pytest.approx([0, 1, 0, 0], abs=1e-6)]

    asyncio.run(run())


def test_words_find_by_bm25(index: LanceIndex) -> None:
    """Words of text, title and tags find a moment at once, in any inflection, accent or script."""
    texts = {
        "cat": {"title": "Chelsea", "text": "two cats on a sofa in a room"},
        "dog": {"text": "a dog in a room", "tags": ("Übung", "rocket_launch")},
        "rail": {"text": "高速鉄道の駅"},
        "none": {},
    }

    async def run() -> None:
        await index.put(SPACE, [entry(name, **fields) for name, fields in texts.items()])  # type: ignore[arg-type]
        queries = {
            "a cat": "cat",
            "CHELSEA": "cat",
            "ubung": "dog",
            "launches of rockets": "dog",
            "鉄道": "rail",
        }
        for query, found in queries.items():
            assert [hit.asset_id for hit in await index.words(query, tenant="t")] == [found], query
        assert [hit.asset_id for hit in await index.words("room with dog", tenant="t")] == ["dog", "cat"]
        for query in ("", "  ", "the of", "unheard", 'x" OR 1=1 --', "'; DROP"):
            assert await index.words(query, tenant="t") == []

    asyncio.run(run())


def test_a_moment_is_found_once_by_words(index: LanceIndex) -> None:
    """A moment that lies in several spaces is one hit, and the limit counts moments."""

    async def run() -> None:
        for space in (SPACE, OTHER):
            await index.put(space, [entry("a", m, space=space, text="rocket") for m in ("", "1.000-2.000")])
        hits = await index.words("rocket", tenant="t")
        assert sorted(hit.moment for hit in hits) == ["", "1.000-2.000"]
        assert len(await index.words("rocket", tenant="t", limit=1)) == 1

    asyncio.run(run())


def test_tenants_are_apart(index: LanceIndex) -> None:
    """However near another tenant's entries are, no query returns, changes or is crowded out by them."""

    async def run() -> None:
        theirs = [entry(f"u{i}", tenant="u", text="rocket") for i in range(50)]
        await index.put(SPACE, [*theirs, entry("mine", angle=80, text="a long text about a rocket")])
        assert [h.asset_id for h in await index.search(SPACE, [1, 0, 0, 0], tenant="t", limit=5)] == ["mine"]
        assert [h.asset_id for h in await index.words("rocket", tenant="t", limit=5)] == ["mine"]
        assert await index.vectors(SPACE, "mine", "u") == []
        await index.retire("mine", "u", keep=())
        assert len(await index.vectors(SPACE, "mine", "t")) == 1
        for tenant in ("' OR '1'='1", "t' --", "%"):
            assert await index.search(SPACE, [1, 0, 0, 0], tenant=tenant) == []
            assert await index.words("rocket", tenant=tenant, kinds=["x') OR ('1'='1"]) == []

    asyncio.run(run())


def test_spaces_are_apart(index: LanceIndex) -> None:
    """Each space has its own dimension and entries; a query with another dimension is an error."""

    async def run() -> None:
        await index.put(SPACE, [entry("a")])
        await index.put(OTHER, [entry("b", space=OTHER, vector=(0.6, 0.8))])
        assert await index.spaces() == sorted([SPACE, OTHER])
        assert [hit.asset_id for hit in await index.search(OTHER, [1, 0], tenant="t")] == ["b"]
        assert await index.search("unknown", [1, 0, 0], tenant="t") == []
        assert await index.vectors("unknown", "a", "t") == []
        for wrong in (
            index.search(SPACE, [1, 0], tenant="t"),
            index.put(SPACE, [entry("c", vector=(1.0, 0.0))]),
            index.put("new", [entry("c"), entry("d", vector=(1.0,))]),
        ):
            with pytest.raises(ValueError, match=r"dimensions|length"):
                await wrong
        assert await index.spaces() == sorted([SPACE, OTHER])

    asyncio.run(run())


def test_retire_keeps_only_what_is_named(index: LanceIndex) -> None:
    """What an older version left is gone from every space and from the words; other assets stay."""

    async def run() -> None:
        moments = [entry("a", f"{i}.000-{i + 1}.000", i, start_s=float(i), text="rocket") for i in range(12)]
        await index.put(SPACE, [*moments, entry("b", text="rocket")])
        await index.put(OTHER, [entry("a", space=OTHER, text="rocket")])
        assert len(await index.vectors(SPACE, "a", "t")) == 12
        await index.retire("a", "t", keep=[moments[3].id, moments[11].id])
        expected = [list(moments[i].vector) for i in (3, 11)]
        assert await index.vectors(SPACE, "a", "t") == [pytest.approx(v, abs=1e-6) for v in expected]
        assert {(h.asset_id, h.moment[:3]) for h in await index.words("rocket", tenant="t")} == {
            ("a", "3.0"), ("a", "11."), ("b", ""),
        }  # fmt: skip
        assert await index.spaces() == [SPACE]
        await index.retire("a", "t", keep=())
        assert await index.vectors(SPACE, "a", "t") == []

    asyncio.run(run())


def test_many_puts_at_once(index: LanceIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Assets put by many tasks at once, while the tables are compacted in between, are all found, once."""
    monkeypatch.setattr(lance, "MERGE_AT", 8)

    async def run() -> None:
        await asyncio.gather(*(index.put(SPACE, [entry(f"a{i}", text=f"rocket w{i}")]) for i in range(30)))
        hits = await index.search(SPACE, [1, 0, 0, 0], tenant="t", limit=100)
        assert sorted(hit.asset_id for hit in hits) == sorted(f"a{i}" for i in range(30))
        assert len(await index.words("rocket", tenant="t", limit=100)) == 30
        assert [hit.asset_id for hit in await index.words("w29", tenant="t")] == ["a29"]

    asyncio.run(run())


def test_another_reader_sees_it_at_once(index: LanceIndex, tmp_path: Path) -> None:
    """A reader that had opened the index before finds what is put later, also after a compaction."""
    reader = LanceIndex(str(tmp_path / "index"))

    async def run() -> None:
        assert await reader.spaces() == []
        assert await reader.words("rocket", tenant="t") == []
        for name in ("a", "b"):
            await index.put(SPACE, [entry(name, text="rocket")])
            assert name in [hit.asset_id for hit in await reader.search(SPACE, [1, 0, 0, 0], tenant="t")]
            assert name in [hit.asset_id for hit in await reader.words("rocket", tenant="t")]
            await index.merge()
        assert len(await reader.words("rocket", tenant="t")) == 2

    asyncio.run(run())


def test_a_broken_index_has_a_code(tmp_path: Path) -> None:
    """An index that cannot be opened is index_unavailable."""
    (tmp_path / "index").write_bytes(b"a file where the folder should be")
    with pytest.raises(AssetError) as raised:
        asyncio.run(LanceIndex(str(tmp_path / "index")).put(SPACE, [entry()]))
    assert raised.value.code == "index_unavailable"


@pytest.mark.parametrize("space", [SPACE, "a.b", "ü/%2f?*", "A_b-c"])
def test_table_names_are_reversible(space: str) -> None:
    """A space's id comes back from its table's name, which is safe as a folder's name."""
    name = lance._table_name(space)
    assert lance._space_of(name) == space
    assert all(c.isascii() and (c.isalnum() or c in "-_.") for c in name)
