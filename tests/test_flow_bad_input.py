"""Bad input through the real command: each has its own ending, and costs the others nothing."""

from __future__ import annotations

import json
from typing import Any

import bad_media as bad
import pytest

from dataflows import queries
from schemas import ids
from schemas.events import DeadLetter, IngestEvent
from sources.inbox import Inbox

ENDINGS = {
    "empty.png": ("rejected", "empty_file", "ingest"),
    "link.png": ("rejected", "path_outside_input", "ingest"),
    "loop.png": ("rejected", "source_missing", "ingest"),
    "truncated.mp4": ("failed", "truncated", "validate"),
    "text.mp4": ("failed", "type_mismatch", "validate"),
    "bomb.png": ("failed", "too_many_pixels", "validate"),
    "corrupt.pdf": ("failed", "corrupt_document", "validate"),
    "locked.pdf": ("failed", "encrypted_document", "validate"),
    "no-stream.m4a": ("failed", "no_media_stream", "validate"),
    "no-key-frame.mp4": ("failed", "no_key_frame", "validate"),
}
MORE = {"truncated.wav": ("failed", "truncated", "validate")}
GOOD = ["good.png", "good.flac", "caf\N{REPLACEMENT CHARACTER}.png"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> bad.Ran:
    """One run over a folder of all bad files and good ones."""
    place = tmp_path_factory.mktemp("bad")
    return bad.run(place / "out", bad.fill(place / "in"))


@pytest.mark.parametrize("name", [*ENDINGS, *MORE])
def test_each_bad_file_has_its_own_ending(ran: bad.Ran, name: str) -> None:
    """A bad file ends in a state with its own code and a sentence to act on; it is kept, told, and never seen."""
    state, code, stage = (ENDINGS | MORE)[name]
    letter = bad.ended_badly(ran, name, state, code)
    assert letter.stage == stage


def test_the_codes_tell_the_files_apart(ran: bad.Ran) -> None:
    """No two kinds of bad input share a code."""
    codes = [code for _, code, _ in ENDINGS.values()]
    assert len(set(codes)) == len(codes)
    assert set(ran.assets) == {*ENDINGS, *MORE, *GOOD}


def test_scripts_can_tell(ran: bad.Ran) -> None:
    """The exit code says that some assets failed, and what a person reads names no folder of the pipeline's own."""
    assert ran.status == 3, ran.errors
    assert "Traceback" not in ran.errors


@pytest.mark.parametrize("name", GOOD)
def test_the_others_complete(ran: bad.Ran, name: str) -> None:
    """Good assets beside bad ones are completed and published, whatever their names are made of."""
    asset = ran.assets[name]
    assert (asset["state"], asset["code"]) == ("completed", ""), asset["message"]
    assert ran.visible(asset["asset_id"]) and ran.letters(asset["asset_id"]) == []


def test_nothing_half_written_is_left(ran: bad.Ran) -> None:
    """After the run there is nothing in scratch or under a temporary key, and of bad assets nothing in the index."""
    assert ran.half_written() == []
    assert ran.indexed() == {ran.assets[name]["asset_id"] for name in GOOD}
    assert (ran.out / "report.html").exists()


@pytest.fixture(scope="module")
def events(ran: bad.Ran) -> dict[str, bytes]:
    """Lines for the inbox that go wrong each in their own way, made from the good picture's event."""
    lines = (ran.out / "inbox" / "ingest.jsonl").read_text().splitlines()
    good = next(event for event in map(json.loads, lines) if event["data"]["source"]["name"] == "good.png")
    other = {"declared": {"title": "Another title"}}
    return {
        "words": b"this is no JSON",
        "bytes": b"\xff\xfe{}",
        "long": b'{"id": "' + b"x" * 1_200_000,
        "schema": _line(good, id="schema", data=good["data"] | {"colour": "red"}),
        "tenant": _line(good, id="tenant", data=good["data"] | {"tenant": "../others"}),
        "pipeline": _line(good, id="p", data=good["data"] | {"pipeline": "nowhere", "idempotency_key": "p"}),
        "duplicate": _line(good, id="another"),
        "conflict": _line(good, id="other", time="2100-01-01T00:00:00Z", data=good["data"] | other),
    }


def _line(event: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(event | changes).encode()


@pytest.fixture(scope="module")
def again(ran: bad.Ran, events: dict[str, bytes]) -> bad.Ran:
    """A second run over the good picture, with the bad lines before its own in the inbox."""
    Inbox(ran.out / "inbox" / "ingest.jsonl").append(events.values())
    return bad.run(ran.out, ran.out.parent / "in" / "good.png")


@pytest.mark.parametrize("name", ["words", "bytes", "long", "schema", "tenant"])
def test_a_line_that_is_no_event_is_kept(again: bad.Ran, events: dict[str, bytes], name: str) -> None:
    """What cannot be read as an event is rejected as invalid_event, and is kept as it came, in an object if need be."""

    def kept(letter: DeadLetter) -> bytes:
        objects = again.out / "store" / "objects" / letter.tenant
        return (objects / letter.raw_object[:2] / letter.raw_object).read_bytes() if letter.raw_object else b""

    found = [
        a
        for a in again.assets.values()
        if any(events[name] in (x.raw.encode(), kept(x)) for x in again.letters(a["asset_id"]))
    ]
    (asset,) = found
    assert (asset["state"], asset["code"]) == ("rejected", "invalid_event")
    (letter,) = again.letters(asset["asset_id"])
    assert letter.input is None and letter.message == asset["message"]
    assert [told.code for told in again.told(asset["asset_id"])] == ["invalid_event"]
    assert again.visible(asset["asset_id"]) == []


def test_an_unknown_pipeline_is_named(again: bad.Ran) -> None:
    """An event for a pipeline that nobody configured is rejected with its name."""
    asset = again.assets[ids.asset_id("default", "p")]
    assert (asset["state"], asset["code"]) == ("rejected", "unknown_pipeline")
    assert "nowhere" in asset["message"]
    (letter,) = again.letters(asset["asset_id"])
    assert letter.input is not None and letter.input.pipeline == "nowhere"


def test_bad_lines_cost_the_others_nothing(again: bad.Ran) -> None:
    """The process lives, what was asked for is completed, and the exit code tells of the rest."""
    assert again.status == 3, again.errors
    assert again.assets["good.png"]["state"] == "completed"
    assert all(step["cached"] for step in again.assets["good.png"]["steps"] if step["step"] in ("fetch", "renditions"))


def test_another_payload_under_the_same_key_is_refused(again: bad.Ran) -> None:
    """The first asset stays completed and as it was; the other submission is rejected, kept, and told to its owner."""
    asset_id = again.assets["good.png"]["asset_id"]
    (letter,) = again.letters(asset_id)
    assert (letter.state, letter.code, letter.event_id) == ("rejected", "idempotency_conflict", "other")
    assert [told.code for told in again.told(asset_id)] == ["idempotency_conflict"]
    assert queries.states(again.settings, [asset_id])[asset_id].state == "completed"
    assert {row["title"] for row in queries.rows(again.settings, "assets", [asset_id], state="completed")} == {"good"}


def test_a_duplicate_is_answered_and_redoes_nothing(again: bad.Ran) -> None:
    """The same payload under another event's id is a duplicate: ingest says so, and no further stage hears of it."""
    asset_id = again.assets["good.png"]["asset_id"]
    history = queries.history(again.settings, asset_id)
    answered = [event for event in history if event.job_id == "another"]
    assert [event.state for event in answered if event.state != "processing"] == ["duplicate"]
    assert {event.stage for event in answered} == {"ingest"}
    manifests = list((again.out / "store" / "manifests" / "default" / asset_id).iterdir())
    assert len(manifests) == 1


def test_the_status_lists_them_all(again: bad.Ran) -> None:
    """`status` knows every asset with its ending, those of unreadable events among them."""
    known = {row["asset_id"]: row for row in queries.overview(again.settings)}
    for asset in again.assets.values():
        row = known[asset["asset_id"]]
        assert (row["state"], row["code"], row["kind"]) == (asset["state"], asset["code"], asset["kind"])


def test_the_event_model_is_what_was_sent(events: dict[str, bytes]) -> None:
    """The lines that are refused later are valid events; only what they ask for is wrong."""
    for name in ("pipeline", "duplicate", "conflict"):
        IngestEvent.model_validate_json(events[name])
