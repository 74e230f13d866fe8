"""What analysts read of a run, and what a changed parameter would redo."""

from __future__ import annotations

from pathlib import Path

import kept_runs
import polars as pl
import pytest

from dataflows import queries
from dataflows.library import Library
from dataflows.rehearsal import rehearse
from schemas.tables import TABLES


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The kept run."""
    return Library(kept_runs.kept(tmp_path_factory.mktemp("library")).out)


def test_no_tables_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    """Where nothing is, that is told at once."""
    with pytest.raises(FileNotFoundError, match="make demo"):
        Library(tmp_path)


def test_the_default_is_found_from_a_folder_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook's working folder is its own; `out` is beside that."""
    kept_runs.kept(tmp_path)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert Library().settings.out == tmp_path / "out"


def test_assets_are_their_newest_rows(library: Library) -> None:
    """As `status` shows them, with the names of their files."""
    told = {row["asset_id"]: (row["name"], row["state"]) for row in queries.overview(library.settings)}
    assert {a: (name, state) for a, name, state in library.assets().select("asset_id", "name", "state").rows()} == told
    assert sorted(library.assets()["name"]) == sorted(kept_runs.NAMES)


@pytest.mark.parametrize("name", TABLES)
def test_tables_have_all_rows(name: str, library: Library) -> None:
    """Every row of the tenant, and none of another."""
    assert library.table(name).collect().height == len(queries.rows(library.settings, name)) > 0
    assert Library(library.settings.out, tenant="other").table(name).collect().is_empty()


def test_time_travel_reads_a_table_as_it_was(library: Library) -> None:
    """The version before any row is empty, the last one is what is there."""
    versions = library.history("lineage")
    first, last = (library.moment(str(versions["version"][n])) for n in (0, -1))
    assert library.table("lineage", first).collect().is_empty()
    assert library.table("lineage", last).collect().height == library.table("lineage").collect().height
    assert versions["at"].is_sorted() and versions["version"].is_sorted()


def test_objects_pictures_and_vectors_are_read(library: Library) -> None:
    """By content, from the store and the index of the same settings."""
    pictures = library.pictures()
    assert set(pictures) == set(library.assets().filter(state="completed")["asset_id"])
    assert all(library.read(sha256)[:4] == b"RIFF" for sha256 in pictures.values())
    assert library.manifest("one.png").asset_id == library.named("one.png") == kept_runs.called("one.png")
    assert library.status().filter(pl.col("state") == "failed")["asset_id"].to_list()
    with pytest.raises(KeyError, match="did not complete"):
        library.manifest("broken.pdf")
    with pytest.raises(KeyError, match="0 assets"):
        library.named("nobody.png")


def test_a_rehearsal_redoes_what_depends_on_the_parameter(library: Library) -> None:
    """Another quality makes the renditions anew and what is read in them; all else is found, and nothing is changed."""
    rows = {name: library.table(name).collect().height for name in TABLES}
    steps = rehearse(library, "one.png", {"image.quality": 40}).filter(state="completed")
    redone = set(steps.filter(~pl.col("cached"))["step"])
    assert redone == {"renditions", "ocr"}
    assert set(steps.filter(pl.col("result_id") != pl.col("was"))["step"]) == redone
    assert {name: library.table(name).collect().height for name in TABLES} == rows


def test_a_rehearsal_of_no_change_redoes_nothing(library: Library) -> None:
    """The same parameters have the same result ids."""
    steps = rehearse(library, "one.png", {}).filter(state="completed")
    assert steps["cached"].all() and (steps["result_id"] == steps["was"]).all()


def test_an_unknown_parameter_is_refused(library: Library) -> None:
    """By name, with those that there are."""
    with pytest.raises(ValueError, match=r"no parameter image.colour; there are .*image.quality"):
        rehearse(library, "one.png", {"image.colour": 1})
