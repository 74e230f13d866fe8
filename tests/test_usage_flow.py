"""The flow `usage` on real servers, alone and as a cluster: whatever goes wrong, its tables are those of the events."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from buckets import bucket
from kafka_fixtures import topics_on
from pydantic import SecretStr
from typer.testing import CliRunner
from usage_events import asset, counted, in_table, milliseconds, produce, use, uses

from chaos.servers import KAFKA, S3, S3_KEY, S3_SECRET
from chaos.waiting import eventually
from dataflows import tables, topics
from dataflows.cli import app
from schemas.settings import Settings
from schemas.topics import USAGE
from sources.kafka_admin import KafkaAdmin

pytestmark = pytest.mark.services

ROOT = Path(__file__).resolve().parent.parent
WINDOW_S = 15
SOON_S = 180.0
BAD = [b"{bad", b"\xff\xfe", b'{"specversion": "1.0", "id": "x", "source": "s", "type": "other", "data": {}}']


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Topics of the test's own, and stores in a folder or on S3."""
    given: dict[str, Any] = {
        "out": tmp_path, "usage_window_s": WINDOW_S, "usage_lateness_s": 2.0, "usage_refresh_s": 0.5, "tenant": "acme",
    }  # fmt: skip
    with topics_on(KAFKA, **given) as settings:
        if request.param == "folder":
            yield settings
            return
        with bucket() as url:
            reached = {"s3_endpoint": S3, "s3_access_key": S3_KEY, "s3_secret_key": SecretStr(S3_SECRET)}
            yield settings.model_copy(update={"objects": f"{url}/o", "tables": f"{url}/t", **reached})


def environment(settings: Settings) -> dict[str, str]:
    """The settings that differ from the defaults, as variables."""
    given = settings.model_dump(exclude_defaults=True, mode="json")
    given |= {"s3_secret_key": settings.s3_secret_key.get_secret_value()} if settings.s3_endpoint else {}
    given.pop("heavy_workers", None)
    return {f"ASSET_PIPELINE_{name.upper()}": str(value) for name, value in given.items()}


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


class Cluster:
    """The processes of one flow, all started and ended together."""

    def __init__(self, settings: Settings, count: int) -> None:
        self.settings, self.count = settings, count
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        addresses = ";".join(f"127.0.0.1:{port}" for port in free_ports(self.count))
        for number in range(self.count):
            known = {"ASSET_PIPELINE_PROCESS": str(number), "ASSET_PIPELINE_PROCESSES": str(self.count)}
            command = [sys.executable, "-m", "bytewax.run", "dataflows.usage:flow", "-s", "1"]
            command += ["-i", str(number), "-a", addresses] if self.count > 1 else []
            with (self.settings.out / f"log-{self.count}-{number}").open("ab") as log:
                made = environment(self.settings) | known
                self.running.append(subprocess.Popen(command, cwd=ROOT, env=os.environ | made, stderr=log))

    def drain(self) -> list[int]:
        """The exit codes after SIGTERM."""
        for process in self.running:
            process.terminate()
        return self._ended()

    def kill(self, number: int) -> list[int]:
        """The exit codes after kill -9 of one process: its peers end by themselves."""
        self.running[number].send_signal(signal.SIGKILL)
        return self._ended()

    def _ended(self) -> list[int]:
        codes = [process.wait(90) for process in self.running]
        self.running.clear()
        return codes

    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in self.settings.out.glob("log-*"))


@contextmanager
def clustered(settings: Settings, count: int) -> Iterator[Cluster]:
    cluster = Cluster(settings, count)
    try:
        cluster.start()
        yield cluster
    finally:
        for process in cluster.running:
            process.kill()
            process.wait()


def events_then(many: int = 400) -> list[dict[str, Any]]:
    """Events of the last minutes, and a few of far before and of the future."""
    now = int(time.time() * 1000)
    found = uses(7, many, now - 600_000, 590_000)
    odd = [now - 40 * 86_400_000, now - 86_400_000, now + 3_600_000]
    return [*found, *(use(many + n, at_ms, used=asset(n)) for n, at_ms in enumerate(odd))]


def mixed(events: list[dict[str, Any]], seed: int) -> list[Any]:
    """Doubled, out of order, with bad messages between them."""
    rng = random.Random(seed)
    found: list[Any] = [*events, *rng.sample(events, len(events) // 3), *BAD]
    rng.shuffle(found)
    return found


def slowly(settings: Settings, events: list[Any]) -> None:
    """Sends events for about three seconds."""
    for n in range(0, len(events), 10):
        produce(settings, events[n : n + 10])
        time.sleep(3 * 10 / len(events))


def letters(settings: Settings) -> list[tuple[str, str]]:
    rows = tables.scan(settings, "events").filter(pl.col("type") == "assets.dead-letter.recorded.v1").collect()
    return sorted(zip(rows["stage"].to_list(), rows["code"].to_list(), strict=True))


def is_whole(settings: Settings, events: list[dict[str, Any]]) -> bool:
    return in_table(settings) == counted(events, WINDOW_S) and len(letters(settings)) == len(BAD)


def check_whole(settings: Settings, events: list[dict[str, Any]]) -> None:
    """Each event once, sums of assets and tenants those of the events, and a dead letter for each bad message."""
    assert in_table(settings) == counted(events, WINDOW_S)
    held = tables.scan(settings, "usage_events").collect()
    assert held.height == held["row_id"].n_unique() == len({event["id"] for event in events})
    assert sorted(held["at_ms"].to_list()) == sorted(map(milliseconds, events))
    sums = tables.scan(settings, "usage_tenants").collect()
    assert sums["row_id"].n_unique() == sums.height and sums["events"].sum() == len(events)
    assert letters(settings) == [("usage", "invalid_event")] * len(BAD)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_tables_are_those_of_the_events(place: Settings, processes: int) -> None:
    """Alone and as a cluster, from events in any order, doubled, late and bad; offsets are committed, a drain ends."""
    events = events_then()
    with clustered(place, processes) as cluster:
        given = mixed(events, 1)
        produce(place, given[: len(given) // 2])
        assert eventually(lambda: tables.scan(place, "usage_events").collect().height > 50, SOON_S), cluster.log()
        produce(place, given[len(given) // 2 :])
        assert eventually(lambda: is_whole(place, events), SOON_S), cluster.log()
        ends = KafkaAdmin(place).end_offsets(USAGE)

        def finished() -> bool:
            return all(c.offset == ends[number] for number, c in KafkaAdmin(place).committed(USAGE, "usage").items())

        assert eventually(finished, SOON_S), topics.offsets(place, "usage")
        assert cluster.drain() == [0] * processes, cluster.log()
    check_whole(place, events)
    assert "Traceback" not in cluster.log()


def test_a_killed_process_loses_and_doubles_nothing(place: Settings) -> None:
    """Kill -9 of one process while events come, again and again: all end, and start again, in other numbers too."""
    events = events_then(600)
    given, rng = mixed(events, 2), random.Random(3)
    *parts, last = [given[n::4] for n in range(4)]
    for part, processes in zip(parts, (2, 1, 3), strict=True):
        with clustered(place, processes) as cluster:
            before = tables.scan(place, "usage_events").collect().height
            produce(place, part[:20])
            grown = eventually(lambda b=before: tables.scan(place, "usage_events").collect().height > b, SOON_S)
            assert grown, cluster.log()
            with ThreadPoolExecutor(1) as thread:
                sending = thread.submit(slowly, place, part[20:])
                time.sleep(rng.uniform(0.5, 2.5))
                killed = rng.randrange(processes)
                codes = cluster.kill(killed)
                assert codes[killed] == -signal.SIGKILL and all(codes), codes
                sending.result()
    with clustered(place, 2) as cluster:
        produce(place, last)
        assert eventually(lambda: is_whole(place, events), SOON_S), cluster.log()
        assert cluster.drain() == [0, 0]
    check_whole(place, events)


def test_offsets_are_committed_while_an_asset_is_used_all_the_time(place: Settings) -> None:
    """Of a cluster that always has events of one asset in hand, each partition's offset goes on all the same."""
    enough, now = threading.Event(), int(time.time() * 1000)

    def without_end() -> None:
        for n in count():
            produce(place, [use(n, now + n, used=asset(0))])
            if enough.wait(0.02):
                return

    def committed() -> bool:
        return any((c.offset or 0) > 100 for c in KafkaAdmin(place).committed(USAGE, "usage").values())

    with clustered(place, 2) as cluster, ThreadPoolExecutor(1) as thread:
        sending = thread.submit(without_end)
        found = eventually(committed, SOON_S)
        enough.set()
        sending.result()
        assert found, cluster.log()


def test_what_a_cluster_must_be_told_is_told(place: Settings) -> None:
    """A process whose numbers differ from the engine's ends at once and says so, and one with a recovery store too."""
    for options, said in (
        (["-i", "0", "-a", "127.0.0.1:1;127.0.0.1:2"], "process 0 of 1 by ASSET_PIPELINE_PROCESS"),
        (["-r", str(place.out), "-b", "0"], "keeps no recovery store"),
    ):
        command = [sys.executable, "-m", "bytewax.run", "dataflows.usage:flow", "-s", "1", *options]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | environment(place), capture_output=True, text=True, timeout=120
        )
        assert done.returncode and said in done.stderr, done.stderr


def test_the_command_shows_the_sums(place: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`usage` shows a tenant's sums, those of one asset, and exit code 3 where there is nothing."""
    for name, value in environment(place).items():
        monkeypatch.setenv(name, value)
    assert CliRunner().invoke(app, ["usage"]).exit_code == 3
    now = int(time.time() * 1000)
    produce(place, [use(n, now - 120_000 + n, "placed", asset(n % 2), quantity=3) for n in range(6)])
    with clustered(place, 1) as cluster:
        shown = eventually(lambda: CliRunner().invoke(app, ["usage"]).exit_code == 0, SOON_S)
        assert shown, cluster.log()
        assert cluster.drain() == [0]
    done = CliRunner().invoke(app, ["usage", "--json"])
    assert '"events": 6, "quantity": 18' in done.stdout
    assert '"events": 3, "quantity": 9' in CliRunner().invoke(app, ["usage", asset(1), "--json"]).stdout
    assert CliRunner().invoke(app, ["usage", "nobody"]).exit_code == 2
    assert CliRunner().invoke(app, ["usage", "--by", "moon"]).exit_code == 2
