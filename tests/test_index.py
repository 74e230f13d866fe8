"""What holds for every vector index, embedded or served."""

from __future__ import annotations

import asyncio

import pytest
from indexes import OTHER, SPACE, Handles, entry, handles, play

from schemas.ports import Filter, VectorIndex
from sinks.words import terms

__all__ = ["handles"]


@pytest.fixture
def index(handles: Handles) -> VectorIndex:
    """A new index."""
    return handles()


def test_search_orders_by_cosine(index: VectorIndex) -> None:
    """The nearest come first, with the cosine as score and everything of the moment as it was put."""

    async def run() -> None:
        moment = entry("b", "12.000-14.000", 60, start_s=12.0, end_s=14.0, title="B", text="spoken", tags=("x", "y"))
        page = entry("c", "page-3", 90, page=3, kind="document")
        await index.put(SPACE, [page, entry("a", angle=0), moment])
        hits = await index.search(SPACE, [1, 0, 0, 0], tenant="t", limit=2)
        assert [hit.asset_id for hit in hits] == ["a", "b"]
        assert [hit.score for hit in hits] == pytest.approx([1.0, 0.5], abs=1e-5)
        b = hits[1]
        assert (b.moment, b.start_s, b.end_s, b.page) == ("12.000-14.000", 12.0, 14.0, None)
        assert (b.title, b.text, b.tags, b.kind, b.space) == ("B", "spoken", ("x", "y"), "video", SPACE)
        a = hits[0]
        assert (a.moment, a.start_s, a.title, a.text, a.tags) == ("", None, "", "", ())
        (c,) = await index.search(SPACE, [1, 0, 0, 0], tenant="t", only=Filter(kinds=("document",)))
        assert (c.page, c.start_s) == (3, None)

    play(index, run)


def test_filters_leave_out_what_they_do_not_name(index: VectorIndex) -> None:
    """Kinds are alternatives, tags all have to be there, and quotes in any of them are only letters."""

    async def run() -> None:
        await index.put(SPACE, [
            entry("a", kind="video", language="en", tags=("red", "dusk"), text="rocket"),
            entry("b", "page-1", page=1, kind="document", language="de", tags=("red",), text="rocket"),
            entry("c", kind="image", language="en", tags=("it's \"red\"",), text="rocket"),
        ])  # fmt: skip
        for only, found in {
            Filter(kinds=("video", "document")): {"a", "b"},
            Filter(tags=("red",)): {"a", "b"},
            Filter(tags=("red", "dusk")): {"a"},
            Filter(tags=('it\'s "red"',)): {"c"},
            Filter(tags=("re",)): set(),
            Filter(language="en"): {"a", "c"},
            Filter(kinds=("image",), language="de"): set(),
            Filter(kinds=("x') OR ('1'='1",)): set(),
            Filter(tags=("x') OR ('1'='1",), language="' OR '1'='1"): set(),
        }.items():
            near = await index.search(SPACE, [1, 0, 0, 0], tenant="t", only=only)
            told = await index.words("rocket", tenant="t", only=only)
            assert {hit.asset_id for hit in near} == {hit.asset_id for hit in told} == found, only

    play(index, run)


def test_putting_again_gives_one_entry(index: VectorIndex, handles: Handles) -> None:
    """An entry that is put again, from two processes' handles at once, stays one entry, the last one put."""
    second = handles()

    async def run() -> None:
        await index.put(SPACE, [entry(text="first", tags=("old",))])
        await asyncio.gather(*((index, second)[i % 2].put(SPACE, [entry(), entry("b")]) for i in range(6)))
        await index.put(SPACE, [entry(text="twice in one call"), entry(text="last", angle=90)])
        assert len(await index.search(SPACE, [1, 0, 0, 0], tenant="t")) == 2
        assert [hit.text for hit in await index.words("last", tenant="t")] == ["last"]
        assert await index.words("first", tenant="t") == []
        assert await index.search(SPACE, [1, 0, 0, 0], tenant="t", only=Filter(tags=("old",))) == []
        assert await index.vectors(SPACE, "a", "t") == [pytest.approx([0, 1, 0, 0], abs=1e-6)]
        await second.close()

    play(index, run)


def test_words_find_by_bm25(index: VectorIndex) -> None:
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

    play(index, run)


def test_a_moment_is_found_once_by_words(index: VectorIndex) -> None:
    """A moment that lies in several spaces is one hit, and the limit counts moments."""

    async def run() -> None:
        for space in (SPACE, OTHER):
            moments = [
                entry("a", space=space, text="rocket"),
                entry("a", "1.000-2.000", 0, space, start_s=1.0, text="rocket"),
            ]
            await index.put(space, moments)
        hits = await index.words("rocket", tenant="t")
        assert sorted(hit.moment for hit in hits) == ["", "1.000-2.000"]
        assert len(await index.words("rocket", tenant="t", limit=1)) == 1

    play(index, run)


def test_tenants_are_apart(index: VectorIndex) -> None:
    """However near another tenant's entries are, no query returns, changes or is crowded out by them."""

    async def run() -> None:
        theirs = [entry(f"u{i}", tenant="u", text="rocket") for i in range(50)]
        await index.put(SPACE, [*theirs, entry("mine", angle=80, text="a long text about a rocket")])
        assert [h.asset_id for h in await index.search(SPACE, [1, 0, 0, 0], tenant="t", limit=5)] == ["mine"]
        assert [h.asset_id for h in await index.words("rocket", tenant="t", limit=5)] == ["mine"]
        assert await index.vectors(SPACE, "mine", "u") == []
        await index.retire("mine", "u", keep=())
        assert len(await index.vectors(SPACE, "mine", "t")) == 1
        for tenant in ("nobody", "' OR '1'='1", "t' --", "%"):
            assert await index.search(SPACE, [1, 0, 0, 0], tenant=tenant) == []
            assert await index.words("rocket", tenant=tenant) == []
            assert await index.vectors(SPACE, "mine", tenant) == []
            await index.retire("mine", tenant, keep=())

    play(index, run)


def test_spaces_are_apart(index: VectorIndex) -> None:
    """Each space has its own dimension and entries; a query with another dimension is an error."""

    async def run() -> None:
        assert await index.spaces() == []
        await index.put(SPACE, [entry("a")])
        await index.put(OTHER, [entry("b", space=OTHER, vector=(0.6, 0.8))])
        assert await index.spaces() == sorted([SPACE, OTHER])
        assert [hit.asset_id for hit in await index.search(OTHER, [1, 0], tenant="t")] == ["b"]
        assert await index.search("unknown", [1, 0, 0], tenant="t") == []
        assert await index.vectors("unknown", "a", "t") == []
        for wrong in (
            index.search(SPACE, [1, 0], tenant="t"),
            index.put(SPACE, [entry("c", vector=(1.0, 0.0))]),
            index.put(SPACE, [entry("c", tenant="new", page=1, vector=(1.0, 0.0))]),
            index.put("new", [entry("c"), entry("d", vector=(1.0,))]),
        ):
            with pytest.raises(ValueError, match=r"dimensions|length"):
                await wrong
        assert await index.spaces() == sorted([SPACE, OTHER])

    play(index, run)


def test_retire_keeps_only_what_is_named(index: VectorIndex) -> None:
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
        assert await index.search(OTHER, [1, 0, 0, 0], tenant="t") == []
        await index.retire("a", "t", keep=())
        assert await index.vectors(SPACE, "a", "t") == []

    play(index, run)


def test_many_puts_at_once(index: VectorIndex) -> None:
    """Assets put by many tasks at once are all found, once, and counted among all entries."""

    async def run() -> None:
        puts = [entry(f"a{i}", text=f"rocket w{i}") for i in range(30)]
        await asyncio.gather(*(index.put(SPACE, [one]) for one in puts))
        hits = await index.search(SPACE, [1, 0, 0, 0], tenant="t", limit=100)
        assert sorted(hit.asset_id for hit in hits) == sorted(f"a{i}" for i in range(30))
        assert len(await index.words("rocket", tenant="t", limit=100)) == 30
        assert [hit.asset_id for hit in await index.words("w29", tenant="t")] == ["a29"]
        vectors, words = await index.entries()
        assert vectors == words == {one.id: one.asset_id for one in puts}

    play(index, run)


def test_another_reader_sees_it_at_once(index: VectorIndex, handles: Handles) -> None:
    """A reader that had opened the index before finds what is put later, also in a space that was not there."""
    reader = handles()

    async def run() -> None:
        assert await reader.spaces() == []
        assert await reader.words("rocket", tenant="t") == []
        assert await reader.search(SPACE, [1, 0, 0, 0], tenant="t") == []
        for name in ("a", "b"):
            await index.put(SPACE, [entry(name, text="rocket")])
            assert name in [hit.asset_id for hit in await reader.search(SPACE, [1, 0, 0, 0], tenant="t")]
            assert name in [hit.asset_id for hit in await reader.words("rocket", tenant="t")]
            await index.purge()
        assert len(await reader.words("rocket", tenant="t")) == 2
        await reader.close()

    play(index, run)


def test_a_rebuilt_index_takes_the_old_ones_place(index: VectorIndex, handles: Handles) -> None:
    """Nobody sees the new index until it is adopted; then everybody does, and what a killed rebuild left is gone."""
    reader = handles()

    async def found() -> list[str]:
        near = await reader.search(SPACE, [1, 0, 0, 0], tenant="t")
        assert {hit.asset_id for hit in near} == {hit.asset_id for hit in await reader.words("rocket", tenant="t")}
        return sorted(hit.asset_id for hit in near)

    async def run() -> None:
        await index.put(SPACE, [entry("old", text="rocket"), entry("both", text="rocket")])
        killed = await index.rebuild()
        await killed.put(SPACE, [entry("lost", text="rocket")])
        rebuilt = await index.rebuild()
        await rebuilt.put(SPACE, [entry("new", text="rocket"), entry("both", text="rocket")])
        assert await found() == ["both", "old"]
        await index.adopt(rebuilt)
        assert await found() == ["both", "new"]
        await index.prune()
        await index.put(SPACE, [entry("later", text="rocket")])
        assert await found() == ["both", "later", "new"]
        await reader.close()

    play(index, run)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Launches of rockets", ["launch", "rocket"]),
        ("rocket_launch, ROCKET-2", ["rocket", "launch", "rocket", "2"]),
        ("Übung naïve café", ["ubung", "naiv", "cafe"]),
        ("駅の東", ["駅", "の", "東"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("שָׁלוֹם", ["שלום"]),
        ("the of and", []),
        ("", []),
    ],
)
def test_terms(text: str, found: list[str]) -> None:
    """Terms have no case, accent or English ending, and belong to a script's own words."""
    assert terms(text) == found
