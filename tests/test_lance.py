"""The embedded vector index, beyond what every index does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from indexes import SPACE, entry, play

from schemas.errors import AssetError
from sinks import lance_rows, lance_tables
from sinks.lance import LanceIndex


def test_puts_while_tables_are_compacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Assets put by many tasks at once, while the tables are compacted in between, are all found, once."""
    monkeypatch.setattr(lance_tables, "MERGE_AT", 8)
    index, reader = LanceIndex(tmp_path / "index"), LanceIndex(tmp_path / "index")

    async def run() -> None:
        await asyncio.gather(*(index.put(SPACE, [entry(f"a{i}", text=f"rocket w{i}")]) for i in range(30)))
        hits = await reader.search(SPACE, [1, 0, 0, 0], tenant="t", limit=100)
        assert sorted(hit.asset_id for hit in hits) == sorted(f"a{i}" for i in range(30))
        await index.merge()
        assert len(await reader.words("rocket", tenant="t", limit=100)) == 30
        assert [hit.asset_id for hit in await reader.words("w29", tenant="t")] == ["a29"]

    play(index, run)


def test_reading_makes_nothing(tmp_path: Path) -> None:
    """An index that nobody has put anything into is empty, and leaves nothing on the disk."""
    index = LanceIndex(tmp_path / "index")

    async def run() -> None:
        assert await index.search(SPACE, [1, 0, 0, 0], tenant="t") == []
        assert await index.words("rocket", tenant="t") == []
        assert await index.entries() == ({}, {})
        await index.retire("a", "t", keep=())

    play(index, run)
    assert list(tmp_path.iterdir()) == []


def test_a_rebuild_leaves_one_folder(tmp_path: Path) -> None:
    """Rebuilds that were killed, and the folder that was replaced, are gone from the disk after a whole one."""
    index = LanceIndex(tmp_path / "index")

    async def run() -> None:
        await index.put(SPACE, [entry("a")])
        await (await index.rebuild()).put(SPACE, [entry("lost")])
        for name in ("b", "c"):
            rebuilt = await index.rebuild()
            await rebuilt.put(SPACE, [entry(name)])
            await index.adopt(rebuilt)
            await index.prune()
        assert [hit.asset_id for hit in await index.search(SPACE, [1, 0, 0, 0], tenant="t")] == ["c"]

    play(index, run)
    folders = {path.name for path in tmp_path.iterdir()} - {"index"}
    assert folders == {(tmp_path / "index").resolve().name}


def test_a_broken_index_has_a_code(tmp_path: Path) -> None:
    """An index that cannot be opened is index_unavailable."""
    (tmp_path / "index").write_bytes(b"a file where the folder should be")
    with pytest.raises(AssetError) as raised:
        asyncio.run(LanceIndex(tmp_path / "index").put(SPACE, [entry()]))
    assert raised.value.code == "index_unavailable"


@pytest.mark.parametrize("space", [SPACE, "a.b", "ü/%2f?*", "A_b-c"])
def test_table_names_are_reversible(space: str) -> None:
    """A space's id comes back from its table's name, which is safe as a folder's name."""
    name = lance_rows.table_name(space)
    assert lance_rows.space_of(name) == space
    assert all(c.isascii() and (c.isalnum() or c in "-_.") for c in name)
