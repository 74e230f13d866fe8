"""`backup` and `restore`: all that there was comes back after everything is gone, less what was deleted."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kept_runs
import obstore
import pytest
from buckets import ACCOUNT, bucket
from flow_runs import Place, found, picture
from kafka_fixtures import send, topics_on

from chaos.servers import KAFKA, S3, S3_KEY, S3_SECRET
from dataflows import backups, copying, lineage, maintenance, queries, reindexing, restoring, search, tables
from dataflows import topics as kafka_topics
from dataflows.connections import objects_of
from dataflows.running import alone
from dataflows.search import Filter
from schemas.settings import Settings
from schemas.tables import TABLES
from schemas.topics import VALIDATED
from sinks.records import OBJECTS
from sinks.s3_bucket import Bucket
from sources.kafka_admin import KafkaAdmin
from sources.kafka_topic import messages

KEYS = {"s3_endpoint": S3, "s3_access_key": S3_KEY, "s3_secret_key": S3_SECRET}
MADE = ("objects", "results", "manifests", "claims", "jobs", "originals", "dead-letters")


@dataclass(frozen=True)
class Kept:
    """A finished run, the command's environment there, and where backups go."""

    settings: Settings
    destination: str

    @property
    def place(self) -> Place:
        """The command there."""
        given = {name: getattr(self.settings, name) for name in ("objects", "tables") if self.settings.objects}
        given |= KEYS if given else {}
        return Place(self.settings.out, {f"ASSET_PIPELINE_{name.upper()}": value for name, value in given.items()})

    def command(self, *words: str, code: int = 0) -> tuple[list[dict[str, Any]], str]:
        """The rows and the messages of a command that ends with this code."""
        with self.place.started(*words, "--out", self.settings.out, "--json") as running:
            output, errors = running.communicate(timeout=120)
        assert running.returncode == code, errors
        return [json.loads(line) for line in output.splitlines()], errors

    def back_up(self, objects: bool = True) -> str:
        """Makes a backup; its address."""
        rows, damaged = asyncio.run(backups.back_up(self.settings, self.destination, objects))
        assert not damaged
        return rows[0]["backup"]

    def restore(self, source: str) -> dict[str, dict[str, Any]]:
        """Restores, and builds the index anew; the rows by what they tell of."""
        rows, _ = asyncio.run(restoring.restore(self.settings, source, dry_run=False))
        asyncio.run(reindexing.reindex(self.settings))
        return {row["what"]: row for row in rows}

    def made(self) -> dict[str, list[str]]:
        """The keys of all objects and records."""
        store = objects_of(self.settings)
        return {prefix: asyncio.run(store.keys(prefix)) for prefix in MADE}

    def clean(self) -> bool:
        """Whether `verify` finds nothing."""
        return asyncio.run(maintenance.verify(self.settings)).clean

    def destroy(self) -> None:
        """Removes everything."""
        shutil.rmtree(self.settings.out)
        if self.settings.objects:
            for url in (self.settings.objects, self.settings.tables):
                store = Bucket(url, ACCOUNT).records()
                for meta in obstore.list(store).collect():
                    obstore.delete(store, meta["path"])


@pytest.fixture
def folder(tmp_path: Path) -> Kept:
    """A run in a folder."""
    return Kept(kept_runs.kept(tmp_path).settings, str(tmp_path / "backups"))


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.services)])
def kept(request: pytest.FixtureRequest, folder: Kept) -> Iterator[Kept]:
    """A run in a folder; and one whose objects and tables are on S3, as its backups are."""
    if request.param == "folder":
        yield folder
        return
    with bucket() as url, bucket() as destination:
        out = folder.settings.out
        for name, below in (("store", "objects"), ("tables", "tables")):
            store = Bucket(f"{url}/{below}", ACCOUNT).records()
            for path in (p for p in (out / name).rglob("*") if p.is_file()):
                obstore.put(store, str(path.relative_to(out / name)), path.read_bytes())
            shutil.rmtree(out / name)
        settings = Settings(out=out, objects=f"{url}/objects", tables=f"{url}/tables", **KEYS)
        yield Kept(settings, destination)


def answers(settings: Settings) -> dict[str, Any]:
    """What the commands say: states, all rows, a search, and a lineage."""
    hits = asyncio.run(search.find(settings, "one", Filter(), 10))
    graph = lineage.graph_of(settings, objects_of(settings), kept_runs.called("child.png"))
    return {
        "states": sorted(map(str, queries.overview(settings))),
        "hits": sorted((hit.asset_id, hit.moment, hit.space) for hit in hits),
        "lineage": asyncio.run(graph),
        **{name: sorted(map(str, queries.rows(settings, name))) for name in TABLES},
    }


def test_everything_comes_back(kept: Kept) -> None:
    """After all is destroyed a restored place is whole, answers as before, and a second run makes nothing anew."""
    before, made = answers(kept.settings), kept.made()
    rows, _ = kept.command("backup", kept.destination, "--objects")
    assert {row["what"]: row["count"] for row in rows}["manifests"] == 4
    kept.destroy()
    source = rows[0]["backup"]
    planned, _ = asyncio.run(restoring.restore(kept.settings, source, dry_run=True))
    assert not kept.settings.below("store").exists() or not any(kept.made().values())
    restored, told = kept.command("restore", source)
    assert "next: asset-pipeline reindex" in told
    assert all(row["in_backup"] == row["restored"] and not row["deleted"] for row in restored)
    assert {row["what"] for row in restored} == {row["what"] for row in planned} | {"publications"}
    asyncio.run(reindexing.reindex(kept.settings))
    assert kept.clean()
    assert answers(kept.settings) == before and kept.made() == made
    again = kept.place.run(*(kept.settings.out.parent / "in" / name for name in ("one.png", "two.png")), code=3)
    assert all(all(found(again[name]).values()) and len(found(again[name])) > 5 for name in ("one.png", "two.png"))
    assert all(kept.made()[name] == keys for name, keys in made.items() if name != "manifests")  # they have new URLs
    assert all(set(rows) <= set(answers(kept.settings)[name]) for name, rows in before.items() if name in TABLES)
    assert kept.clean()


@pytest.mark.services
def test_types_and_tags_come_back(folder: Kept) -> None:
    """Objects that are restored to S3 from a folder have the type that their step gave them."""
    source = folder.back_up()
    with bucket() as url:
        moved = Kept(Settings(out=folder.settings.out.parent / "new", objects=url, **KEYS), "")
        moved.restore(source)
        assert moved.clean()
        manifest = folder.place.manifests()[0]
        asked = Bucket(url, ACCOUNT)

        async def types() -> list[str]:
            keys = [f"{OBJECTS}/default/{v.sha256[:2]}/{v.sha256}" for v in manifest.variants]
            return [(await asked.call("head_object", key))["ContentType"] for key in keys]

        assert asyncio.run(types()) == [variant.media_type for variant in manifest.variants]


def test_only_new_objects_are_copied(kept: Kept) -> None:
    """A second backup at a destination copies what is new or torn there; each backup is restored as it was."""
    first = kept.back_up()
    sha256 = asyncio.run(objects_of(kept.settings).add_bytes("default", b"new", "text/plain")).sha256
    shared = backups.Backup.at(kept.settings, first).shared
    gone = asyncio.run(shared.stored())[0]
    asyncio.run(shared.remove(gone.tenant, gone.sha256))
    rows, _ = asyncio.run(backups.back_up(kept.settings, kept.destination, True))
    told = {row["what"]: row for row in rows}["objects"]
    assert (told["count"], told["copied"]) == (21, 2)
    kept.destroy()
    assert kept.restore(first)["objects"]["restored"] == 20
    assert not asyncio.run(objects_of(kept.settings).exists("default", sha256))


def test_a_damaged_object_is_left_out_and_named(folder: Kept) -> None:
    """The backup is made without it, and the command ends with 3."""
    path = folder.place.files("store/objects/*/*/*")[0]
    path.write_bytes(b"x")
    rows, told = folder.command("backup", folder.destination, "--objects", code=3)
    assert path.name in told
    assert {row["what"]: row for row in rows}["objects"]["count"] == 19
    asyncio.run(restoring.checked(backups.Backup.at(folder.settings, rows[0]["backup"])))


def test_without_objects_they_are_those_that_are_there(folder: Kept) -> None:
    """A backup of tables and records alone goes with a store whose objects are whole."""
    before, source = answers(folder.settings), folder.back_up(objects=False)
    assert not (Path(folder.destination) / OBJECTS).exists()
    shutil.move(folder.settings.below("store", OBJECTS), folder.settings.out.parent / "saved")
    folder.destroy()
    shutil.move(folder.settings.out.parent / "saved", folder.settings.below("store", OBJECTS))
    assert "objects" not in folder.restore(source)
    assert folder.clean() and answers(folder.settings) == before


def test_a_place_with_assets_is_refused(folder: Kept) -> None:
    """It ends with 2, says what is there, and changes nothing; so does a folder that another process holds."""
    source, before = folder.back_up(), answers(folder.settings)
    _, told = folder.command("restore", source, code=2)
    assert "there are assets already" in told and "manifests" in told
    shutil.rmtree(folder.settings.below("store", "manifests"))
    _, told = folder.command("restore", source, "--dry-run", code=2)
    assert "table assets" in told
    with alone(folder.settings.below()):
        assert "another process" in folder.command("restore", source, code=2)[1]
    assert {name: rows for name, rows in answers(folder.settings).items() if name in TABLES}.items() <= before.items()


@pytest.mark.parametrize("source", ["nowhere", "s3://bucket", "/"])
def test_what_is_no_backup_is_refused(folder: Kept, source: str) -> None:
    """An address that cannot be one."""
    with pytest.raises(ValueError, match="is not the folder of a backup"):
        asyncio.run(restoring.restore(folder.settings, source, dry_run=True))


def flip(path: Path) -> None:
    """Changes the last byte of a file."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


DAMAGE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a changed table": ("tables/events/*.parquet", flip),
    "a lost file of a table": ("tables/steps/*.parquet", Path.unlink),
    "a changed log": ("tables/assets/_delta_log/*.json", flip),
    "a changed record": ("store/results/*/*/*.json", flip),
    "a lost record": ("store/manifests/*/*/*.json", Path.unlink),
    "a changed object": ("../objects/*/*/*", flip),
    "a lost object": ("../objects/*/*/*", Path.unlink),
    "a changed list": ("store/listed/objects.txt", flip),
    "a lost log of submissions": ("store/inbox/ingest.jsonl", Path.unlink),
    "a torn backup.json": ("backup.json", flip),
    "no backup.json": ("backup.json", Path.unlink),
}


def test_a_damaged_backup_is_refused(folder: Kept) -> None:
    """Whatever is damaged: it is seen before anything is written, and once it is as it was all is well."""
    source, target = Path(folder.back_up()), folder.settings.out.parent / "new"
    settings = Settings(out=target)
    for name, (pattern, harm) in DAMAGE.items():
        path = sorted(source.glob(pattern))[0]
        whole = path.read_bytes()
        harm(path)
        with pytest.raises(restoring.Damaged):
            asyncio.run(restoring.restore(settings, str(source), dry_run=False))
        assert not [file for file in target.rglob("*") if file.is_file()], name
        path.write_bytes(whole)
    assert replace(folder, settings=settings).restore(str(source))["objects"]["restored"] == 20


def test_a_deleted_asset_stays_deleted(kept: Kept) -> None:
    """Deleted after the backup it does not come back, nor what was its alone; what another shares does."""
    source = kept.back_up()
    for name in ("two.png", "twin.png"):
        asyncio.run(maintenance.delete(kept.settings, kept_runs.called(name)))
    made, before = kept.made(), answers(kept.settings)
    stones = {key: asyncio.run(objects_of(kept.settings).get(key)) for key in stones_of(kept.settings)}
    later = kept.back_up()
    kept.destroy()
    for key, data in stones.items():
        asyncio.run(objects_of(kept.settings).create(key, data))
    told = kept.restore(source)
    assert told["manifests"]["deleted"] == 2 and told["table assets"]["deleted"] == 2 and told["objects"]["deleted"]
    assert all(row["in_backup"] == row["deleted"] + row["restored"] for row in told.values())
    assert kept.clean() and kept.made() == made and answers(kept.settings) == before
    kept.destroy()
    told = kept.restore(later)
    assert told["tombstones"]["restored"] == 2 and not told["manifests"]["deleted"]
    assert kept.clean() and kept.made() == made and answers(kept.settings) == before


def stones_of(settings: Settings) -> list[str]:
    """The keys of the tombstones."""
    return asyncio.run(objects_of(settings).keys("tombstones"))


def test_what_was_under_way_is_finished(tmp_path: Path) -> None:
    """An asset whose rows had not come yet when the backup was made is finished by the next run, whichever that is."""
    kept = Kept(Settings(out=tmp_path / "out"), str(tmp_path / "backups"))
    first, second = picture(tmp_path / "first.png"), picture(tmp_path / "second.png", 1)
    kept.place.run(first)
    (asset,) = queries.named(kept.settings, "first.png")
    for name in TABLES:
        tables.drop_rows(kept.settings, name, asset)
    before = kept.made()
    source = kept.back_up()
    kept.destroy()
    kept.restore(source)
    assert {p.code for p in asyncio.run(maintenance.verify(kept.settings)).problems} == {"row_missing"}
    kept.place.run(second)
    assert kept.clean() and set(before["manifests"]) < set(kept.made()["manifests"])


# the command, killed at the n-th record that it creates
KILLED = """
import os, signal
from dataflows import cli
from sinks.records import Records

left, create = [int(os.environ.pop("KILLED_AT"))], Records.create


async def killed(*arguments):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return await create(*arguments)


Records.create = killed
cli.main()
"""


def killed(kept: Kept, at: int, *words: str) -> None:
    """Runs a command that kills itself."""
    place = kept.place
    place.environment["KILLED_AT"] = str(at)
    with place.started(*words, "--out", kept.settings.out, program=(sys.executable, "-c", KILLED)) as running:
        _, errors = running.communicate(timeout=120)
    assert running.returncode == -signal.SIGKILL, errors


def test_an_interrupted_backup_is_seen(folder: Kept) -> None:
    """Killed with -9 it is no backup; the next one is, beside it."""
    killed(folder, 40, "backup", folder.destination, "--objects")
    (broken,) = Path(folder.destination).iterdir()
    _, told = folder.command("restore", str(broken), "--dry-run", code=3)
    assert "was not finished" in told
    source = folder.back_up()
    folder.destroy()
    folder.restore(source)
    assert folder.clean()


@pytest.mark.parametrize("at", [20, 54])
def test_a_killed_restoration_is_taken_up_again(folder: Kept, at: int) -> None:
    """Killed with -9 before its tables or among its manifests, it goes on; another backup's is refused until then."""
    before, source = answers(folder.settings), folder.back_up()
    other = folder.back_up()
    folder.destroy()
    killed(folder, at, "restore", source)
    with pytest.raises(ValueError, match="did not end"):
        folder.restore(other)
    folder.restore(source)
    assert folder.clean() and answers(folder.settings) == before
    with pytest.raises(ValueError, match="there are assets already"):
        folder.restore(source)


def test_a_table_that_changes_meanwhile_is_copied_again(folder: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion removes the files of the version that is being copied: the next version is copied instead."""
    known, tries = copying.copy_table, list[str]()

    def disturbed(source: Any, uri: str, *more: Any) -> int:
        if uri.endswith("steps"):
            tries.append(uri)
            if len(tries) == 1:
                tables.drop_rows(folder.settings, "steps", kept_runs.called("two.png"))
        return known(source, uri, *more)

    monkeypatch.setattr(backups, "copy_table", disturbed)
    source = folder.back_up()
    about = asyncio.run(restoring.checked(backups.Backup.at(folder.settings, source)))
    assert len(tries) == 2 and about.tables["steps"].rows == len(queries.rows(folder.settings, "steps"))


@pytest.mark.services
def test_flows_read_again_from_the_oldest_unfinished_input(tmp_path: Path) -> None:
    """`since` is when that came; `offsets reset` to it, as `restore` says, begins there, and not after it."""
    with topics_on(KAFKA, out=tmp_path / "out") as settings:
        for partition in (0, 1):
            for n in range(3):
                send(settings, VALIDATED, [f"{n}".encode()], partition=partition)
                asyncio.run(asyncio.sleep(0.01))
        admin = KafkaAdmin(settings)
        admin.commit(VALIDATED, "derive", {0: 3, 1: 1, 2: 0}, "")
        rows, _ = asyncio.run(backups.back_up(settings, str(tmp_path / "backups"), with_objects=False))
        assert [row["count"] for row in rows] == [0] * len(backups.RECORDS)
        _, about = asyncio.run(restoring.restore(settings, rows[0]["backup"], dry_run=True))
        assert list(about.since) == ["derive"] and about.since["derive"] < datetime.now(UTC)
        (reset,) = [words.split() for words in restoring.next_steps(settings, about) if "offsets reset" in words]
        moved = kafka_topics.reset(settings, reset[3], reset[5])
        assert {row["partition"]: row["to"] for row in moved if row["partition"] < 2} == {0: 3, 1: 1}
        assert sorted(message.value for message in messages(settings, VALIDATED)) == [
            b"0",
            b"0",
            b"1",
            b"1",
            b"2",
            b"2",
        ]
