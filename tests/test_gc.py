"""`gc`: what nothing references goes after two runs and a deadline each, and nothing else ever."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import kept_runs
import pytest
from buckets import bucket
from flow_runs import Place
from kafka_fixtures import send, topics_on
from typer.testing import CliRunner, Result

from chaos.servers import KAFKA, S3, S3_KEY, S3_SECRET
from dataflows import cli, collecting, deleting, maintenance
from dataflows.connections import objects_of
from operators.stages.dead_letter import letter_key
from operators.stages.ingest import JobClaim, original_key
from operators.stages.steps import result_key
from schemas.asset import IngestRecord, IngestRequest, ObjectKind, Output, Ref, Source, StepResult, StepRun, Work
from schemas.batches import SCHEMA, encode_works
from schemas.cloudevents import encode_ingest
from schemas.errors import State
from schemas.events import DeadLetter, IngestEvent
from schemas.messages import Record
from schemas.pipelines import Pipeline
from schemas.settings import Settings
from schemas.topics import DERIVED, INGEST, Topic
from sinks.records import OBJECTS, TRASH
from sources.inbox import Inbox

KEYS = {"s3_endpoint": S3, "s3_access_key": S3_KEY, "s3_secret_key": S3_SECRET}
HOUR_S = 3600.0
SERVED = pytest.mark.services
TENANT, ASSET = "default", "3d8a9bbe-8a13-5a42-9c55-000000000001"


@pytest.fixture(params=["folder", pytest.param("s3", marks=SERVED)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """An empty store in a folder, and on S3."""
    if request.param == "folder":
        yield Settings(out=tmp_path)
    else:
        with bucket() as url:
            yield Settings(out=tmp_path, objects=url, **KEYS)


def add(settings: Settings, data: bytes, tenant: str = TENANT) -> str:
    """Stores an object; its SHA-256."""
    return asyncio.run(objects_of(settings).add_bytes(tenant, data, "text/plain", ObjectKind.PREVIEW)).sha256


def is_there(settings: Settings, sha256: str) -> bool:
    """Whether the object is in its place."""
    return asyncio.run(objects_of(settings).exists(TENANT, sha256))


def keys(settings: Settings, prefix: str) -> list[str]:
    """What lies below a prefix."""
    return asyncio.run(objects_of(settings).keys(prefix))


def create(settings: Settings, key: str, data: bytes) -> None:
    """Writes a record."""
    asyncio.run(objects_of(settings).create(key, data))


def deadlines(settings: Settings, count: float) -> float:
    """So many of the longest deadlines and a bit, in seconds."""
    return count * (collecting.longest_deadline_s(settings) + HOUR_S)


def collect(settings: Settings, after: float, apply: bool = True) -> dict[str, int]:
    """The objects by fate, of a collection so many deadlines from now."""
    now = int((time.time() + deadlines(settings, after)) * 1000)
    rows = asyncio.run(collecting.collect(settings, apply, clock=lambda: now))
    return {row["fate"]: row["objects"] for row in rows}


def test_what_nothing_references_goes_after_two_deadlines(settings: Settings) -> None:
    """Young it stays; then it goes to the trash, waits there, and is purged; a dry run changes nothing."""
    sha256 = add(settings, b"garbage")
    assert collect(settings, 0) == {"young": 1} and is_there(settings, sha256)
    for _ in range(2):
        assert collect(settings, 1, apply=False) == {"to trash": 1} and is_there(settings, sha256)
    assert collect(settings, 1) == {"to trash": 1} and not is_there(settings, sha256)
    assert collect(settings, 1.5) == {"in trash": 1}
    assert collect(settings, 2.5, apply=False) == {"purged": 1} and len(keys(settings, TRASH)) == 1
    assert collect(settings, 2.5) == {"purged": 1}
    assert collect(settings, 2.5) == {} and not keys(settings, TRASH) and not keys(settings, OBJECTS)


def test_the_command(settings: Settings) -> None:
    """It tells objects and bytes by tenant, and refuses a deadline below the longest."""
    add(settings, b"12345")
    add(settings, b"123", "other")
    given = {"OBJECTS": settings.objects, **({k.upper(): v for k, v in KEYS.items()} if settings.objects else {})}
    environment = {f"ASSET_PIPELINE_{key}": value for key, value in given.items()}

    def run(*more: str) -> Result:
        return CliRunner().invoke(cli.app, ["gc", "--out", str(settings.out), "--json", *more], env=environment)

    wanted = [
        {"tenant": "default", "fate": "young", "objects": 1, "bytes": 5},
        {"tenant": "other", "fate": "young", "objects": 1, "bytes": 3},
    ]
    for done in (run(), run("--apply", "--older-than", "1000")):
        assert (done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]) == (0, wanted), done.stderr
    refused = run("--older-than", "1")
    assert refused.exit_code == 2 and "not less than" in refused.stderr


def result(output: str) -> StepResult:
    """A step's result with this output."""
    ref = Output(sha256=output, bytes=1, media_type="text/plain", name="x", role="rendition")
    return StepResult(result_id="ab" * 32, stage="derive", step="x", version="1", outputs=(ref,))


def request(sha256: str) -> IngestRequest:
    """A submission of an object in the store."""
    return IngestRequest(source=Source.of_object(sha256, "a.png"), idempotency_key="key")


def letter(**fields: object) -> DeadLetter:
    """A dead letter."""
    about = {"dead_letter_id": "d1", "asset_id": ASSET, "job_id": "j", "tenant": TENANT, "stage": "ingest"}
    return DeadLetter(**about, state=State.FAILED, code="internal", message="", event_id="e", **fields)


def named_in_manifest(settings: Settings, sha256: str) -> None:
    """In an older version."""
    found = kept_runs.kept(settings.out / "run").manifests()[0]
    old = found.model_copy(update={"original": Ref(sha256=sha256, bytes=1, media_type="text/plain")})
    for manifest in (old, found.model_copy(update={"version": 2})):
        key = f"manifests/{TENANT}/{manifest.asset_id}/{manifest.version:08d}.json"
        create(settings, key, manifest.model_dump_json().encode())


def named_in_result(settings: Settings, sha256: str) -> None:
    """As an output."""
    create(settings, result_key(TENANT, "ab" * 32), result(sha256).model_dump_json().encode())


def named_in_torn_result(settings: Settings, sha256: str) -> None:
    """Of a record that cannot be decoded."""
    create(settings, result_key(TENANT, "ab" * 32), result(sha256).model_dump_json().encode()[:-7])


def named_in_job(settings: Settings, sha256: str) -> None:
    """As the source."""
    job = JobClaim(job_id="j", event_id="e", accepted_ms=1, source=request(sha256).source)
    create(settings, f"jobs/{TENANT}/{ASSET}/j.json", job.model_dump_json().encode())


def named_in_original(settings: Settings, sha256: str) -> None:
    """By the record's key alone."""
    create(settings, original_key(TENANT, sha256, ASSET), b"{}")


def keep_letter(settings: Settings, found: DeadLetter) -> None:
    """Keeps a dead letter."""
    create(settings, letter_key(found), found.model_dump_json().encode())


def named_in_letters_input(settings: Settings, sha256: str) -> None:
    """As the source of what would be replayed."""
    keep_letter(settings, letter(input=request(sha256)))


def named_as_letters_message(settings: Settings, sha256: str) -> None:
    """As the message itself."""
    keep_letter(settings, letter(raw_object=sha256))


def named_in_letters_message(settings: Settings, sha256: str) -> None:
    """In works that were too long for the letter, as Arrow."""
    value, headers = encode_works([(ASSET, work(sha256)), (ASSET, work("0" * 64))])
    raw = add(settings, value)
    text = {name: data.decode() for name, data in headers.items()}
    keep_letter(settings, letter(raw_object=raw, headers=text))


def named_in_inbox(settings: Settings, sha256: str) -> None:
    """In an event that was perhaps not read yet."""
    event = IngestEvent(id="e", source="test", data=request(sha256))
    Inbox(settings.below("inbox", "ingest.jsonl")).append([event.model_dump_json().encode()])


REFERENCES = [
    named_in_manifest, named_in_result, named_in_torn_result, named_in_job, named_in_original, named_in_letters_input,
    named_as_letters_message, named_in_letters_message, named_in_inbox,
]  # fmt: skip


@pytest.mark.parametrize("refer", REFERENCES, ids=lambda refer: refer.__name__)
def test_what_is_referenced_stays(tmp_path: Path, refer: Callable[[Settings, str], None]) -> None:
    """What is referenced once it is in the trash comes back, and stays, however old it is; what lies beside it goes."""
    settings = Settings(out=tmp_path)
    held = add(settings, b"held")
    assert collect(settings, 1) == {"to trash": 1} and not is_there(settings, held)
    refer(settings, held)
    garbage = add(settings, b"garbage")
    told = collect(settings, 2.5)
    assert (told["put back"], told["to trash"]) == (1, 1)
    assert is_there(settings, held) and not is_there(settings, garbage)
    told = collect(settings, 4)
    assert told == {"referenced": len(keys(settings, OBJECTS)), "purged": 1}
    assert is_there(settings, held) and not keys(settings, TRASH)


def work(sha256: str) -> Work:
    """Work in hand with this output."""
    record = IngestRecord(asset_id=ASSET, job_id="j", event_id="e", accepted_ms=1, request=request("1" * 64))
    return Work(record=record, pipeline=Pipeline(), steps=(StepRun(result=result(sha256)),))


def submitted(sha256: str) -> tuple[Topic, Record]:
    """An event of a producer."""
    return INGEST, encode_ingest(INGEST.name, IngestEvent(id="e", source="test", data=request(sha256)))


def handed_on(sha256: str) -> tuple[Topic, Record]:
    """A batch between flows."""
    return DERIVED, Record(DERIVED.name, ASSET, *encode_works([(ASSET, work("2" * 64)), (ASSET, work(sha256))]))


def of_a_newer_version(sha256: str) -> tuple[Topic, Record]:
    """A batch whose schema this program does not know."""
    topic, record = handed_on(sha256)
    return topic, record._replace(headers=dict(record.headers) | {SCHEMA: b"unknown"})


def torn(sha256: str) -> tuple[Topic, Record]:
    """A batch that cannot be read."""
    topic, record = handed_on(sha256)
    return topic, record._replace(value=record.value[8:])


@pytest.mark.services
def test_what_a_message_names_stays(tmp_path: Path) -> None:
    """Events and works that the broker keeps hold what they name, whoever could read them."""
    with topics_on(KAFKA, out=tmp_path) as settings:
        garbage = add(settings, b"garbage")
        held = [add(settings, message.__name__.encode()) for message in MESSAGES]
        for message, sha256 in zip(MESSAGES, held, strict=True):
            topic, record = message(sha256)
            send(settings, topic, [record.value], headers=dict(record.headers), partition=len(record.headers))
        assert collect(settings, 1) == {"referenced": len(held), "to trash": 1}
        assert all(is_there(settings, sha256) for sha256 in held) and not is_there(settings, garbage)


MESSAGES = [submitted, handed_on, of_a_newer_version, torn]


@pytest.mark.services
def test_without_kafka_nothing_is_collected(tmp_path: Path) -> None:
    """Where a topic cannot be read, nobody knows what it names."""
    with topics_on(KAFKA, out=tmp_path) as settings:
        sha256 = add(settings, b"held")
        with pytest.raises(RuntimeError, match="no topic"):
            collect(settings.model_copy(update={"topic_prefix": "nobody"}), 1)
        assert is_there(settings, sha256)


@pytest.mark.parametrize("reading", ["local", "read", "size", "archive"])
def test_a_reader_takes_it_out_of_the_trash(settings: Settings, reading: str) -> None:
    """What a record names that came just after the collection is found at once, as it was; `exists` says no."""
    sha256 = add(settings, b"data")
    assert collect(settings, 1) == {"to trash": 1} and not is_there(settings, sha256)

    async def read() -> None:
        store = objects_of(settings)
        if reading == "local":
            async with store.local(TENANT, sha256, settings.out) as path:
                assert path.read_bytes() == b"data"
        elif reading == "archive":
            assert await store.put_back(TENANT, sha256)
            await store.archive(TENANT, sha256)
            assert await store.read(TENANT, sha256) == b"data"
        else:
            assert await getattr(store, reading)(TENANT, sha256) == (b"data" if reading == "read" else 4)
        if settings.objects:
            about = await store._bucket.call("head_object", f"objects/{TENANT}/{sha256[:2]}/{sha256}")
            assert about["ContentType"] == "text/plain"

    asyncio.run(read())
    assert is_there(settings, sha256)
    named_in_result(settings, sha256)
    assert collect(settings, 2.5) == {"put back": 1, "referenced": 1}
    assert is_there(settings, sha256) and not keys(settings, TRASH)


def test_archived_files_go_and_come_back(tmp_path: Path) -> None:
    """A file of the folder's archive goes with its link, and where a kill has left it without one."""
    settings = Settings(out=tmp_path)
    linked, alone, held = (add(settings, data) for data in (b"linked", b"alone", b"held"))
    for sha256 in (linked, alone, held):
        asyncio.run(objects_of(settings).archive(TENANT, sha256))
    (tmp_path / "store" / "objects" / TENANT / alone[:2] / alone).unlink()
    named_in_result(settings, held)
    assert collect(settings, 1) == {"referenced": 1, "to trash": 2}
    assert [path.name for path in (tmp_path / "store").glob("archive/*/*/*")] == [held]
    assert asyncio.run(objects_of(settings).read(TENANT, alone)) == b"alone"
    asyncio.run(objects_of(settings).remove(TENANT, alone))
    assert collect(settings, 2.5) == {"referenced": 1, "purged": 1}
    assert asyncio.run(objects_of(settings).read(TENANT, held)) == b"held"


# a collection that is killed at the n-th call of a method that changes the store, before or after it
KILLED = """
import asyncio, os, signal, sys
from dataflows import collecting
from schemas.settings import Settings
from sinks.records import Records

left = [int(os.environ.pop("KILLED_AT"))]
name, now = sys.argv[1], int(sys.argv[2])
known = getattr(Records, name)


async def killed(*arguments):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return await known(*arguments)


setattr(Records, name, killed)
asyncio.run(collecting.collect(Settings(), True, clock=lambda: now))
"""


@pytest.mark.parametrize(
    ("settings", "method", "at"),
    [
        ("folder", "_drop", 1),
        ("folder", "_drop", 4),
        ("folder", "purge", 1),
        pytest.param("s3", "_drop", 4, marks=SERVED),
    ],
    indirect=["settings"],
)
def test_a_killed_collection_is_run_again(settings: Settings, method: str, at: int) -> None:
    """Killed with -9 between any two of its steps it has lost nothing, and the next one does the rest."""
    held = [add(settings, f"held {n}".encode()) for n in range(4)]
    garbage = [add(settings, f"garbage {n}".encode()) for n in range(4)]
    for sha256 in (held + garbage)[::2]:
        asyncio.run(objects_of(settings).discard(TENANT, sha256, 1))
    for n, sha256 in enumerate(held):
        create(settings, result_key(TENANT, f"{n:064x}"), result(sha256).model_dump_json().encode())
    now = int((time.time() + deadlines(settings, 1)) * 1000)
    given = {"OUT": str(settings.out), "OBJECTS": settings.objects, **{k.upper(): v for k, v in KEYS.items()}}
    environment = {f"ASSET_PIPELINE_{key}": value for key, value in given.items()} | {"KILLED_AT": str(at)}
    place = Place(settings.out, environment)
    with place.started(method, str(now), program=(sys.executable, "-c", KILLED)) as running:
        _, errors = running.communicate(timeout=60)
    assert running.returncode == -signal.SIGKILL, errors
    for sha256 in held:
        assert asyncio.run(objects_of(settings).read(TENANT, sha256))
    collect(settings, 1.5)
    collect(settings, 3)
    assert not keys(settings, TRASH)
    assert {key.rpartition("/")[2] for key in keys(settings, OBJECTS)} == set(held)


def test_collections_beside_each_other_lose_nothing(settings: Settings) -> None:
    """Some think that all is unreferenced, others that all is referenced: every object can still be read."""
    names = [add(settings, f"{n}".encode()) for n in range(6)]
    old = time.time() + deadlines(settings, 1)

    async def run() -> None:
        plans = []
        store = objects_of(settings)
        for _ in range(3):
            found = await store.stored()
            plans.append([collecting._discard(store, each, int(old * 1000)) for each in found])
            plans.append([_back(store, each.sha256) for each in found])
        await asyncio.gather(*(_in_turn(plan) for plan in plans))
        for sha256 in names:
            assert hashlib.sha256(await store.read(TENANT, sha256)).hexdigest() == sha256

    async def _back(store, sha256: str) -> None:
        for copy in await store.trashed(TENANT, sha256):
            await collecting._put_back(store, copy, 0)

    async def _in_turn(plan) -> None:
        for step in plan:
            await step

    asyncio.run(run())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A finished run."""
    return kept_runs.kept(tmp_path)


def clean(place: Place) -> bool:
    """Whether `verify` finds nothing."""
    return asyncio.run(maintenance.verify(place.settings)).clean


def test_a_real_run_loses_nothing(place: Place) -> None:
    """However late it is, all objects of a run are referenced; also once an asset is deleted; the trash is no harm."""
    count = len(place.files("store/objects/*/*/*"))
    assert clean(place)
    for after in (1, 2.5):
        assert collect(place.settings, after) == {"referenced": count}
    deleted = asyncio.run(maintenance.delete(place.settings, kept_runs.called("two.png")))
    assert collect(place.settings, 1) == {"referenced": count - deleted["objects"]}
    add(place.settings, b"garbage")
    assert collect(place.settings, 1) == {"referenced": count - deleted["objects"], "to trash": 1}
    assert clean(place) and keys(place.settings, TRASH)


def test_a_deletion_takes_the_trash_too(place: Place) -> None:
    """Neither files of the asset that were put there, nor copies of those that are in their place, stay."""
    asset = kept_runs.called("two.png")
    manifest = next(m for m in place.manifests() if m.asset_id == asset)
    mine = sorted(deleting.digests_of(manifest))
    store = objects_of(place.settings)
    for sha256 in mine[:3]:
        asyncio.run(store.discard(TENANT, sha256, 1))
    assert asyncio.run(store.put_back(TENANT, mine[0]))
    assert len(keys(place.settings, TRASH)) == 3
    asyncio.run(maintenance.delete(place.settings, asset))
    assert not keys(place.settings, TRASH)
    assert not set(mine) & {path.name for path in place.files("store/objects/*/*/*")}
    assert clean(place)
