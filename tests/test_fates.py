"""What becomes of a submission, by what is told of its asset, in whatever order and however often it is told."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from dataflows.fates import Fate, Following, fate_of
from schemas import ids
from schemas.asset import IngestRequest, Source
from schemas.cloudevents import encode
from schemas.errors import State
from schemas.events import IngestEvent, StatusChanged
from schemas.settings import Settings
from schemas.topics import STATUS

REQUEST = IngestRequest(source=Source.of_object("a" * 64, "a.png"), idempotency_key="a")
MINE = IngestEvent(id="mine", source="test", data=REQUEST)
REPLAY = IngestEvent(
    id="again", source="test", data=REQUEST.model_copy(update={"replay_of": "letter", "generation": 1})
)
JOB, OLD_JOB = (ids.job_id(REQUEST.asset_id, pipeline) for pipeline in ("new", "old"))


def told(stage: str, state: State, job: str = JOB, accepted_ms: int = 2, **rest: Any) -> StatusChanged:
    """What is told of a stage of the asset."""
    about = {"asset_id": REQUEST.asset_id, "tenant": "default", "accepted_ms": accepted_ms}
    return StatusChanged.of(**about, job_id=job, stage=stage, state=state, **rest)


def answer(state: State, event: IngestEvent = MINE, **rest: Any) -> StatusChanged:
    """What ingest says of a submission."""
    return told("ingest", state, event.id, **rest)


def job(*states: tuple[str, State], job: str = JOB, accepted_ms: int = 2, generation: int = 0) -> list[StatusChanged]:
    """What is told of a job that ingest has begun."""
    shared: dict[str, Any] = {"job": job, "accepted_ms": accepted_ms, "generation": generation}
    begun = told("ingest", State.COMPLETED, step="fetch", **shared)
    return [begun, *(told(stage, state, **shared) for stage, state in states)]


ACCEPTED = [answer(State.PROCESSING), answer(State.COMPLETED)]
COMPLETED = (("validate", State.COMPLETED), ("publish", State.COMPLETED))


def test_nothing_is_known_at_first() -> None:
    """What nobody has spoken of is pending, and what ingest has begun with is processing."""
    assert fate_of(MINE, [], []) == Fate(state=State.PENDING)
    assert fate_of(MINE, [answer(State.PROCESSING)], []).state == State.PROCESSING


def test_it_is_its_jobs_fate_in_any_order() -> None:
    """An accepted submission ends as its job does, whichever message of the two flows comes first."""
    events = [*ACCEPTED, *job(*COMPLETED)]
    for seed in range(20):
        random.Random(seed).shuffle(events)
        assert fate_of(MINE, events, []) == Fate(state=State.COMPLETED)
    assert not fate_of(MINE, [*ACCEPTED, *job(("validate", State.COMPLETED))], []).ended


def test_an_earlier_jobs_end_is_not_its_own() -> None:
    """While a job under an older pipeline ends, the submission that began a new one goes on."""
    old = [told(stage, state, OLD_JOB, accepted_ms=1) for stage, state in COMPLETED]
    assert not fate_of(MINE, [*old, *ACCEPTED], []).ended
    assert not fate_of(MINE, [*old, *ACCEPTED, *job()], []).ended
    failed = job(("validate", State.FAILED))
    assert fate_of(MINE, [*old, *ACCEPTED, *failed], []).state == State.FAILED


@pytest.mark.parametrize("state", [State.REJECTED, State.FAILED])
def test_a_refusal_is_an_end(state: State) -> None:
    """What ingest refuses, or gives up on, has ended, with the code."""
    fate = fate_of(MINE, [answer(state, code="too_large")], [])
    assert (fate.state, fate.code, fate.ended, fate.well) == (state, "too_large", True, False)


def test_a_duplicate_ends_with_the_asset_that_exists() -> None:
    """A duplicate waits for the asset that exists, and has its state; its own answer says nothing of that."""
    duplicate = answer(State.DUPLICATE)
    assert fate_of(MINE, [duplicate], []).existing == State.PENDING
    assert not fate_of(MINE, [duplicate, *job(("validate", State.PROCESSING))], []).ended
    for heard, known in (([duplicate, *job(*COMPLETED)], []), ([duplicate], job(*COMPLETED))):
        fate = fate_of(MINE, heard, known)
        assert (fate.state, fate.existing, fate.well) == (State.DUPLICATE, State.COMPLETED, True)
        assert fate.message == "The asset is there already: completed."


def test_a_replay_that_was_sent_before_ends_without_an_answer() -> None:
    """The same replay is answered once only: its end may have been told before, but not that of what it replays."""
    failed = job(("validate", State.FAILED))
    assert not fate_of(REPLAY, [], failed).ended
    assert fate_of(REPLAY, [], [*failed, *job(*COMPLETED, generation=1)]).well
    refused = answer(State.FAILED, REPLAY, generation=1, code="url_timeout")
    assert fate_of(REPLAY, [refused], failed).code == "url_timeout"


def test_a_deletion_on_the_way_is_an_end() -> None:
    """An asset that is deleted while it is worked on ends as rejected."""
    fate = fate_of(MINE, [*ACCEPTED, *job(("derive", State.DUPLICATE))], [])
    assert (fate.state, fate.code) == (State.REJECTED, "deleted")


def test_messages_are_news_once_and_others_are_none(tmp_path: Path) -> None:
    """A message that comes again is no news, and neither is one of another asset, which is not even read."""
    following = Following(Settings(out=tmp_path), [MINE])
    events = [*ACCEPTED, *job(*COMPLETED)]
    messages = [(r.key.encode(), r.value) for r in (encode(STATUS.name, event) for event in events)]
    assert list(following.hear([(b"another", b"no JSON"), *messages[:2], *messages[:2]])) == events[:2]
    assert following.open
    assert list(following.hear([*messages, *messages])) == events[2:]
    assert not following.open and following.fates == {MINE.id: Fate(state=State.COMPLETED)}
    with pytest.raises(RuntimeError, match="not of this version"):
        list(following.hear([(REQUEST.asset_id.encode(), b'{"specversion": "2.0"}')]))
