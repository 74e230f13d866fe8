"""`replay`: what failed goes through again once the fault is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from flow_runs import Place, check_whole, found, picture

from dataflows import queries
from dataflows.submit import submit
from operators.stages.dead_letter import DeadLetter

QUICK = {"ASSET_PIPELINE_BACKOFF_S": "0.05"}


def letters(place: Place) -> list[DeadLetter]:
    """The dead letters that are kept, by generation."""
    found = [DeadLetter.model_validate_json(path.read_bytes()) for path in place.files("store/dead-letters/**/*")]
    return sorted(found, key=lambda letter: letter.generation)


def test_a_replay_completes_what_failed(tmp_path: Path):
    """A broken channel fails the asset after all attempts, a `run` tries again, a replay completes it.

    The failure is a state with a code and a dead letter, which stays; what was made is not made again, and the
    manifest keeps its version. With nothing left to replay the command is well.
    """
    place, source = Place(tmp_path / "out", QUICK), picture(tmp_path / "noise.png")
    place.out.mkdir()
    (place.out / "published").write_text("not a folder")
    row = place.run(source, code=3)["noise.png"]
    assert (row["state"], row["code"]) == ("failed", "channel_unavailable")
    assert "replay" in row["message"]
    [letter] = letters(place)
    assert (letter.stage, letter.generation, len(letter.attempts)) == ("publish", 0, 3)
    made = place.made()

    again = place.run(source, code=3)["noise.png"]
    assert again["state"] == "failed"
    assert all(found(again).values())
    assert [x.generation for x in letters(place)] == [0, 1]

    (place.out / "published").unlink()
    assert place.rows("replay", "--code", "corrupt_image") == place.rows("replay", "--since", "2100-01-01") == {}
    rows = place.rows("replay", "--code", "channel_unavailable", "--since", "2020-01-01T00:00")
    assert [row["state"] for row in rows.values()] == ["completed"]
    assert rows["noise.png"]["asset_id"] == row["asset_id"]
    assert [x.generation for x in letters(place)] == [0, 1]
    ends = {(r["generation"], r["state"], r["manifest_version"]) for r in place.table("assets")}
    assert ends == {(0, "failed", 0), (1, "failed", 0), (2, "completed", 1)}
    assert place.made() == made
    kinds = [r["type"].split(".")[1] for r in place.table("events") if not r["stage"] or "dead" in r["type"]]
    assert sorted(kinds) == ["dead-letter", "dead-letter", "owner", "owner"]

    assert place.rows("replay") == {}
    assert queries.states(place.settings)[row["asset_id"]].state == "completed"


@pytest.mark.parametrize("wrong", [("--code", "no_such_code"), ("--since", "yesterday")])
def test_what_to_replay_is_said_wrongly(tmp_path: Path, wrong: tuple[str, str]):
    """A code or a time that there is not: exit code 2, and why."""
    with Place(tmp_path / "out").started("replay", *wrong) as running:
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 2 and wrong[1] in errors


def test_a_file_that_moved_before_it_was_read_completes_from_where_it_lies_now(tmp_path: Path):
    """The same asset completes from the new place.

    The event of the old one is rejected and kept as a dead letter, unless the other brought the bytes just before it.
    """
    place, source = Place(tmp_path / "out", QUICK), picture(tmp_path / "noise.png")
    submit(place.settings, [str(source)])
    (tmp_path / "sub").mkdir()
    rows = place.run(source.rename(tmp_path / "sub" / "noise.png"))
    assert rows["noise.png"]["state"] == "completed"
    assert {letter.code for letter in letters(place)} <= {"source_missing"}
    assert place.rows("replay") == {}
    check_whole(place)
