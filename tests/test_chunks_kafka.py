"""Chunks over a real cluster: derive asks for them on Kafka, two processes render them, S3 has what is finished."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import media_factory as make
import pytest
from chunk_works import FAST, chunk_results, work_of
from confluent_kafka.admin import AdminClient, NewPartitions
from flow_runs import clip
from kafka_fixtures import kafka  # noqa: F401

from chaos.flows import Fleet, fleet
from chaos.stack import SERVERS, Route, Stack
from chaos.waiting import eventually
from dataflows.chunk_ends import check_partitions
from dataflows.connections import objects_of
from dataflows.topics import offsets
from operators.stages.dead_letter import letters
from operators.stages.ingest import tombstone_key
from schemas.asset import Work
from schemas.batches import decode_works, encode_works
from schemas.chunks import ChunkEnd, ChunkTask, decode_end, decode_task, encode_task
from schemas.events import DeadLetter
from schemas.messages import Message, Record
from schemas.pipelines import VideoParams
from schemas.settings import Settings
from schemas.topics import CHUNKS, CHUNKS_DONE, DERIVED, STATUS, VALIDATED, Topic, client_options, full_name
from sinks.kafka import delivering
from sources.kafka_admin import KafkaAdmin
from sources.kafka_topic import messages

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
SECONDS, OUTPUTS = 12, 6
SPREAD = FAST.model_copy(update={"spread_s": 5.0})


@dataclass(frozen=True)
class Tight(Stack):
    """Of flows whose gates one asset fills, so that nothing but the ends of its chunks can come."""

    def _fields(self, route: Route) -> dict[str, Any]:
        return super()._fields(route) | {"unfinished": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Fleet]]:
    """Topics and a bucket of the module's own, one process of derive and two of chunks."""
    made = Tight(tmp_path_factory.mktemp("chunks") / "stack", SERVERS, SERVERS)
    made.make()
    try:
        with fleet(made) as flows:
            flows.start({"derive": 1, "chunks": 2})
            yield made, flows
    finally:
        made.remove()


def handed(made: Stack, path: Path, video: VideoParams = SPREAD) -> Work:
    """The work of a clip, handed to derive."""
    work = asyncio.run(work_of(objects_of(made.settings), path, made.name, video))
    value, headers = encode_works([(work.asset_id, work)])
    with delivering(made.settings, [VALIDATED]) as writer:
        writer.write([Record(VALIDATED.name, work.asset_id, value, headers)])
    return work


def read(made: Stack, topic: Topic) -> list[Message]:
    """All messages of a topic."""
    return list(messages(made.settings, topic))


def derived(made: Stack, work: Work) -> list[Work]:
    """What derive has handed on of this asset."""
    found = [each for message in read(made, DERIVED) for each in decode_works(message)]
    return [each for each in found if each.asset_id == work.asset_id]


def finished(made: Stack, work: Work) -> dict[str, Any]:
    """The recorded results of the asset's chunks."""
    assert work.original is not None
    results = asyncio.run(chunk_results(objects_of(made.settings), made.name))
    return {key: result for key, result in results.items() if result.inputs == (work.original.sha256,)}


def logs(flows: Fleet) -> str:
    """The last lines of every process."""
    return "".join(f"\n{process.name}: {process.log.read_text()[-2000:]}" for process in flows.processes)


def check_complete(made: Stack, work: Work, path: Path) -> None:
    """The asset was handed on once, with every picture in its place, and each chunk's results are there."""
    [done], results = derived(made, work), finished(made, work)
    each = Counter(str(result.params["range"]) for result in results.values())
    assert set(each.values()) == {OUTPUTS}
    (mezzanine,) = (run.result for run in done.steps if run.result.step == "mezzanine")
    assert mezzanine.values["chunks"] == len(each) > 10
    path.write_bytes(asyncio.run(objects_of(made.settings).read(made.name, mezzanine.outputs[0].sha256)))
    assert [number for _, number in make.shown(path)] == list(range(24 * SECONDS))


def test_a_killed_process_of_chunks_begins_again_with_its_own(place: tuple[Stack, Fleet], tmp_path: Path) -> None:
    """Each chunk is asked for once, by one message; those of a process that was killed -9 come back to it."""
    made, flows = place
    work = handed(made, clip(tmp_path / "film.mp4", SECONDS))
    assert eventually(lambda: len(finished(made, work)) >= 3 * OUTPUTS, 90, 0.1), logs(flows)
    flows.kill_one(flows.of(["chunks"])[0])
    early = finished(made, work)
    assert eventually(lambda: bool(derived(made, work)), 60, 0.2), logs(flows)
    check_complete(made, work, tmp_path / "mezzanine.mp4")
    assert early.items() <= finished(made, work).items() and len(early) < len(finished(made, work))
    asked = [message.key for message in read(made, CHUNKS)]
    assert len(asked) == len(set(asked)) == len(finished(made, work)) // OUTPUTS
    assert {message.key for message in read(made, CHUNKS_DONE)} == {work.asset_id.encode()}
    assert not [message for message in read(made, STATUS) if b'"stage":"chunks"' in (message.value or b"")]


def test_a_killed_derive_asks_only_for_what_is_missing(place: tuple[Stack, Fleet], tmp_path: Path) -> None:
    """Its work comes back to it, finished chunks are found by their result ids, and the asset ends once."""
    made, flows = place
    path = make.write(tmp_path / "other.mp4", make.Clip(pts=range(24 * SECONDS), gop=12, pixel_format="yuv444p"))
    work = handed(made, path)
    assert eventually(lambda: len(finished(made, work)) >= 3 * OUTPUTS, 90, 0.1), logs(flows)
    flows.kill_one(*flows.of(["derive"]))
    early = Counter(tuple(result.params["range"]) for result in finished(made, work).values())
    assert not derived(made, work)
    assert eventually(lambda: bool(derived(made, work)), 60, 0.2), logs(flows)
    check_complete(made, work, tmp_path / "mezzanine.mp4")
    tasks = [decode_task(message) for message in read(made, CHUNKS)]
    asked = Counter(task.range for task in tasks if task.work.asset_id == work.asset_id)
    whole = {chunk for chunk, outputs in early.items() if outputs == OUTPUTS}
    assert whole and all(asked[chunk] == 1 for chunk in whole)
    assert not flows.ended


def test_what_cannot_be_rendered_is_told(place: tuple[Stack, Fleet]) -> None:
    """A chunk's failure is told with its code, what cannot be read is a dead letter, a deleted asset's is dropped."""
    made, flows = place
    work = asyncio.run(work_of(objects_of(made.settings), clip(made.folder / "third.mp4", 1), made.name, SPREAD))
    assert work.original is not None
    gone = work.model_copy(update={"original": work.original.model_copy(update={"sha256": "0" * 64})})
    task = ChunkTask(call="a call", chunk_id="a chunk", work=gone, range=(None, None), outputs=("poster",))
    fourth = asyncio.run(work_of(objects_of(made.settings), clip(made.folder / "fourth.mp4", 2), made.name, SPREAD))
    stone = tombstone_key(fourth.tenant, fourth.asset_id)
    asyncio.run(objects_of(made.settings).create(stone, b"{}"))
    deleted = task.model_copy(update={"call": "another", "work": fourth})
    with delivering(made.settings, [CHUNKS]) as writer:
        unreadable = Record(CHUNKS.name, "no chunk", b"no JSON", {})
        writer.write([encode_task(deleted), encode_task(task), unreadable])

    def told() -> list[ChunkEnd]:
        return [end for end in map(decode_end, read(made, CHUNKS_DONE)) if end.call == "a call"]

    def lettered() -> list[DeadLetter]:
        return asyncio.run(letters(objects_of(made.settings), "default"))

    assert eventually(lambda: bool(told() and lettered()), 60, 0.2), logs(flows)
    assert told() == [ChunkEnd(call="a call", asset_id=work.asset_id, code="object_missing", detail="0" * 64)]
    [letter] = lettered()
    assert (letter.code, letter.stage, letter.raw) == ("unreadable_message", "chunks", "no JSON")
    assert eventually(lambda: not any(row["lag"] for row in offsets(made.settings, "chunks")), 30, 0.2)
    assert not finished(made, fourth) and "another" not in {decode_end(m).call for m in read(made, CHUNKS_DONE)}


def test_derive_refuses_partitions_that_do_not_match(kafka: Settings) -> None:  # noqa: F811
    """Ends of chunks would be told to other processes than those that wait: derive says at its start what to do."""
    check_partitions(kafka)
    admin = AdminClient(dict(client_options(kafka)))
    more = NewPartitions(full_name(kafka, CHUNKS_DONE), kafka.partitions + 1)
    for future in admin.create_partitions([more]).values():
        future.result()
    assert eventually(lambda: KafkaAdmin(kafka).partitions(CHUNKS_DONE) == kafka.partitions + 1)
    with pytest.raises(RuntimeError, match=r"chunks-done has 5 partitions.*has 4: remove .*PARTITIONS=4"):
        check_partitions(kafka)
