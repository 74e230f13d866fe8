"""`delete`: nothing of an asset stays, nothing of another goes, and nothing comes back."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kept_runs
import pytest
from flow_runs import PROGRAM, Place

from dataflows import deleting, maintenance
from dataflows.running import alone
from schemas.tables import TABLES

ALLOWED = ("store/tombstones/*", "index-*/*/_transactions/*", "index-*/*/_versions/*", "recovery/*")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A finished run to delete from."""
    return kept_runs.kept(tmp_path)


def delete(place: Place, name: str) -> dict[str, Any]:
    """Deletes an asset."""
    return asyncio.run(maintenance.delete(place.settings, kept_runs.called(name)))


def traces(place: Place, *words: str) -> list[str]:
    """Files that hold one of these words: but for the tombstone, logs of deletions by id, and the recovery store."""
    allowed = {path for pattern in ALLOWED for path in place.out.rglob(pattern)} | set(
        place.out.rglob("tombstones/*/*")
    )
    files = (path for path in place.out.rglob("*") if path.is_file() and path not in allowed)
    return [str(path.relative_to(place.out)) for path in files if any(w.encode() in path.read_bytes() for w in words)]


def clean(place: Place) -> bool:
    """Whether `verify` finds nothing."""
    return asyncio.run(maintenance.verify(place.settings)).clean


def test_nothing_of_the_asset_stays(place: Place) -> None:
    """Objects, records, rows, vectors, publications, log lines and the report are gone; a tombstone is left."""
    asset = kept_runs.called("two.png")
    manifest = next(m for m in place.manifests() if m.asset_id == asset)
    told = delete(place, "two.png")
    assert list(told) == maintenance.DELETED
    assert all(told.values())
    assert not traces(place, asset, "two.png", manifest.original.sha256, manifest.variants[0].sha256)
    for sha256 in (manifest.original.sha256, *(v.sha256 for v in manifest.variants)):
        assert not (place.out / "store" / "objects" / "default" / sha256[:2] / sha256).exists()
    assert json.loads((place.out / f"store/tombstones/default/{asset}.json").read_text())["reason"]
    assert clean(place)


def test_what_another_asset_shares_stays(place: Place) -> None:
    """Of two assets of equal bytes one is deleted: the other keeps all its files, and the name of the first is gone."""
    other = next(m for m in place.manifests() if m.asset_id == kept_runs.called("one.png"))
    wanted = deleting.digests_of(other)
    delete(place, "twin.png")
    assert wanted <= {path.name for path in place.files("store/objects/*/*/*")}
    assert not traces(place, kept_runs.called("twin.png"), "twin.png")
    assert clean(place)
    assert delete(place, "one.png")["objects"] >= len(wanted)


def test_a_failed_asset_is_deleted_too(place: Place) -> None:
    """The dead letter and the original of an asset without manifest go."""
    assert delete(place, "broken.pdf")["objects"] == 1
    assert not traces(place, kept_runs.called("broken.pdf"), "broken.pdf")
    assert clean(place)


@pytest.mark.parametrize("step", ["withdraw", "_content", "blank", "drop_rows"])
def test_a_second_call_finishes(place: Place, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion that ended midway is seen by `verify`, and doing it again leaves as little as one that did not."""

    class Killed(BaseException):
        """What a test has instead of a kill."""

    def kill(*_arguments: object, **_more: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(deleting, step, kill)
        with pytest.raises(Killed):
            delete(place, "two.png")
    found = asyncio.run(maintenance.verify(place.settings))
    assert "deletion_unfinished" in {p.code for p in found.problems}
    delete(place, "two.png")
    assert not traces(place, kept_runs.called("two.png"), "two.png")
    assert clean(place)


def test_later_runs_bring_nothing_back(place: Place) -> None:
    """Neither the recovery store nor, once it is lost, the log brings anything back; a new submission is refused."""
    names = [name for name in kept_runs.NAMES if name != "one.png"]
    for name in names:
        delete(place, name)
    source = place.out.parent / "in" / "one.png"
    refused = place.run(source, source.with_name("two.png"), code=3)["two.png"]
    assert (refused["state"], refused["code"]) == ("rejected", "deleted")
    shutil.rmtree(place.out / "recovery")
    place.run(source, code=3)  # the log has the refused submission, too
    assert {row["asset_id"] for row in place.table("steps")} == {kept_runs.called("one.png")}
    assert {row["code"] for row in place.table("assets")} == {"", "deleted"}
    assert not traces(place, "twin.png", "child.png", "broken.pdf")
    assert clean(place)


def test_a_folder_in_use_is_refused(place: Place) -> None:
    """While another process holds the folder the command ends with 2 and removes nothing."""
    before = {name: len(place.table(name)) for name in TABLES}
    with alone(place.settings.below()):
        command = [PROGRAM, "delete", "two.png", "--out", place.out]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "another process" in done.stderr
    assert {name: len(place.table(name)) for name in TABLES} == before
