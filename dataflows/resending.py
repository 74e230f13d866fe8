"""Messages between flows that could not be read, sent again as they came: to a flow that can read them by now."""

from __future__ import annotations

from collections.abc import Callable

from dataflows.connections import objects_of
from operators.stages.dead_letter import letter_key, letters
from schemas.events import DeadLetter
from schemas.messages import Record
from schemas.ports import ObjectStore
from schemas.settings import Settings
from schemas.topics import PRODUCED, TOPICS, Topic, full_name
from sinks.kafka import delivering


async def replay(settings: Settings, wanted: Callable[[DeadLetter], bool]) -> int:
    """Sends such messages to their topics, and removes their letters once they are delivered.

    How many there were. Whatever still cannot be read comes back as another letter. Raises RuntimeError if Kafka is
    away.
    """
    store = objects_of(settings)
    by_name = {full_name(settings, topic): topic for topic in TOPICS if topic not in PRODUCED}
    found = [
        letter for letter in await letters(store, settings.tenant)
        if letter.topic in by_name and wanted(letter)
    ]  # fmt: skip
    if found:
        topics = [by_name[letter.topic] for letter in found]
        records = [await _record(store, *pair) for pair in zip(found, topics, strict=True)]
        with delivering(settings, topics) as writer:
            writer.write(records)
    for letter in found:
        await store.delete(letter_key(letter))
    return len(found)


async def _record(store: ObjectStore, letter: DeadLetter, topic: Topic) -> Record:
    value = await store.read(letter.tenant, letter.raw_object) if letter.raw_object else letter.raw.encode()
    return Record(topic.name, letter.key, value, {name: text.encode() for name, text in letter.headers.items()})
