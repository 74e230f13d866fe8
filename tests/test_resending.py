"""Messages between flows that could not be read go to their topic again, as they came."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kafka_fixtures import counted, everything, kafka  # noqa: F401

from dataflows import commands, deleting
from dataflows.connections import objects_of
from dataflows.output import Output
from operators.stages import dead_letter
from schemas.messages import Message
from schemas.settings import Settings
from schemas.topics import DEAD_LETTERS, DERIVED, INGEST, VALIDATED, Topic, full_name
from sources.kafka_admin import KafkaAdmin

HEADERS = {"content-type": b"application/vnd.apache.arrow.stream", "schema": b"0123"}
VALUES = (b"\xff\x00 no text", b"text", b"long " * 100_000)


def unreadable(settings: Settings, topic: Topic, offset: int, value: bytes, key: bytes = b"asset-1") -> str:
    """Keeps the dead letter of a message; its asset id."""
    message = Message(full_name(settings, topic), 1, offset, key, value, HEADERS)
    ending = dead_letter.unreadable(message, "ingest" if topic is INGEST else "derive", "another schema")
    services = SimpleNamespace(store=objects_of(settings), clock_ms=lambda: 1)
    asyncio.run(dead_letter.run(cast(Any, services), ending))
    return ending.letter.asset_id


@pytest.mark.services
def test_messages_are_sent_again_once(kafka: Settings, tmp_path: Path):  # noqa: F811
    """Key, bytes and headers are the same; what a producer sent wrongly stays a dead letter."""
    settings = kafka.model_copy(update={"out": tmp_path})
    for offset, value in enumerate(VALUES):
        unreadable(settings, VALIDATED, offset, value)
    other = unreadable(settings, DERIVED, 0, b"other")
    invalid = unreadable(settings, INGEST, 0, b"no event")

    assert commands.replay(settings, commands.Wanted([other]), Output(True))
    assert [message.value() for message in everything(settings, DERIVED, counted(1))] == [b"other"]
    for _ in range(2):
        assert commands.replay(settings, commands.Wanted(), Output(True))
    found = everything(settings, VALIDATED, counted(len(VALUES)))
    assert {message.value() for message in found} == set(VALUES)
    assert len(found) == len(VALUES)
    assert {message.key() for message in found} == {b"asset-1"}
    assert all(dict(message.headers() or ()) == HEADERS for message in found)
    left = asyncio.run(dead_letter.letters(objects_of(settings), settings.tenant))
    assert [letter.asset_id for letter in left] == [invalid]
    assert not any(KafkaAdmin(settings).end_offsets(INGEST).values())


@pytest.mark.services
def test_kafka_forgets_the_letters_of_a_deleted_asset(kafka: Settings, tmp_path: Path, monkeypatch: Any):  # noqa: F811
    """A tombstone under each letter's id takes it out of the compacted topic."""
    settings = kafka.model_copy(update={"out": tmp_path})
    monkeypatch.setattr(deleting, "GRACE_S", 0.0)
    gone, kept = (unreadable(settings, DERIVED, offset, b"\xff") for offset in range(2))
    (letter,) = asyncio.run(dead_letter.letters(objects_of(settings), settings.tenant, gone))
    asyncio.run(deleting.delete(settings, gone))
    (stone,) = everything(settings, DEAD_LETTERS, counted(1))
    assert (stone.key(), stone.value()) == (letter.dead_letter_id.encode(), None)
    left = asyncio.run(dead_letter.letters(objects_of(settings), settings.tenant))
    assert [letter.asset_id for letter in left] == [kept]
