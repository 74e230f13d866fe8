"""`verify`: a whole folder is clean, and each kind of damage is found and named."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import kept_runs
import pytest
from deltalake import DeltaTable, write_deltalake
from flow_runs import PROGRAM, Place

from dataflows import maintenance
from dataflows.connections import index_of
from dataflows.problems import SENTENCES


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A finished run to damage."""
    return kept_runs.kept(tmp_path)


def codes(place: Place) -> set[str]:
    """The codes of what is wrong."""
    found = asyncio.run(maintenance.verify(place.settings))
    assert found.clean == (not found.problems)
    assert all(p.message.startswith(SENTENCES[p.code]) for p in found.problems)
    return {p.code for p in found.problems}


def one(place: Place, pattern: str) -> Path:
    """The first file of a pattern."""
    return place.files(pattern)[0]


def published(place: Place) -> Path:
    """A published picture."""
    return one(place, "published/*/*/v1/*.webp")


def move(path: Path, name: str) -> None:
    """Gives a file another name."""
    path.rename(path.with_name(name))


def double_row(place: Place) -> None:
    """Appends a row again."""
    table = DeltaTable(str(place.out / "tables" / "steps"))
    write_deltalake(table, table.to_pyarrow_table().slice(0, 1), mode="append")


def lose_rows(place: Place) -> None:
    """Empties a table."""
    table = DeltaTable(str(place.out / "tables" / "variants"))
    write_deltalake(table, table.to_pyarrow_table().slice(0, 0), mode="overwrite")


def lose_entries(place: Place) -> None:
    """Takes an asset out of the index."""
    asyncio.run(index_of(place.settings).retire(kept_runs.called("two.png"), "default", []))


def lose_manifest(place: Place) -> None:
    """Loses an asset's only manifest."""
    one(place, f"store/manifests/default/{kept_runs.called('two.png')}/*").unlink()


def leave(place: Place) -> None:
    """Leaves a scratch folder and a half-written object of the day before yesterday."""
    for path in (place.out / "scratch" / "tmp1", place.out / "store" / "tmp" / "half"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
        os.utime(path, (0, 0))


DAMAGE: dict[str, tuple[Callable[[Place], object], set[str]]] = {
    "a changed object": (lambda p: one(p, "store/objects/*/*/*").write_bytes(b"x"), {"object_changed"}),
    "a lost object": (lambda p: one(p, "store/objects/*/*/*").unlink(), {"object_missing"}),
    "a torn result": (lambda p: one(p, "store/results/*/*/*").write_bytes(b"{"), {"result_unreadable"}),
    "a torn manifest": (lambda p: one(p, "store/manifests/*/*/*").write_bytes(b"{"), {"manifest_unreadable"}),
    "a manifest under another number": (
        lambda p: move(one(p, "store/manifests/*/*/*"), "00000002.json"), {"manifest_unreadable"},
    ),
    "a lost manifest": (lose_manifest, {"index_extra", "row_extra", "publication_extra"}),
    "a lost index entry": (lose_entries, {"index_missing"}),
    "a doubled row": (double_row, {"row_doubled"}),
    "lost rows": (lose_rows, {"row_missing"}),
    "a changed publication": (lambda p: published(p).write_bytes(b"x"), {"publication_changed"}),
    "a strange published file": (lambda p: (published(p).parent / "x").write_bytes(b"x"), {"publication_changed"}),
    "a lost publication": (lambda p: move(published(p).parent, ".gone"), {"publication_missing"}),
    "what a killed process left": (leave, {"left_over"}),
}  # fmt: skip


def test_a_whole_folder_is_clean(place: Place) -> None:
    """The command says what it looked at in one row, and ends with 0."""
    done = subprocess.run([PROGRAM, "verify", "--out", place.out, "--json"], capture_output=True, text=True, check=True)
    (row,) = map(json.loads, done.stdout.splitlines())
    assert row["code"] == "clean"
    assert row["objects"] == len(place.files("store/objects/*/*/*"))
    assert row["bytes"] == sum(path.stat().st_size for path in place.files("store/objects/*/*/*"))
    assert row["manifests"] == 4


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found(place: Place, what: str) -> None:
    """Each damage is reported under its code."""
    harm, expected = DAMAGE[what]
    harm(place)
    assert expected <= codes(place)


def test_problems_are_told_to_scripts(place: Place) -> None:
    """With a problem the command prints it as an object and ends with 3."""
    lose_entries(place)
    done = subprocess.run(
        [PROGRAM, "verify", "--out", place.out, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    (row,) = map(json.loads, done.stdout.splitlines())
    assert (row["code"], row["subject"]) == ("index_missing", kept_runs.called("two.png"))
