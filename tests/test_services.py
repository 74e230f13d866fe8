"""services/services.sh and compose.yaml: they start and end servers, and only theirs, with one set of settings."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.servers import SCRIPT, STATE, fetch, listens
from chaos.waiting import eventually

ROOT = SCRIPT.parent.parent
SERVERS = ("kafka", "s3", "weaviate", "toxiproxy")
PORTS = (7070, 7100, 7101, 7102, 7103, 8080, 8474, 9092, 9093, 9094, 50051)
# those that move every port to where no client's end of a connection is
OFFSETS = random.sample(range(11_000, 15_400), 100)


def at(offset: int, port: int) -> str:
    return f"127.0.0.1:{port + offset}"


@dataclass
class Place:
    """A folder of state and an offset of ports apart from all others, on a machine without a container engine."""

    folder: Path
    offset: int

    def address(self, port: int) -> str:
        return at(self.offset, port)

    def script(self, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs the script; `path` is a folder of programs that come before all others."""
        environment = os.environ | {
            "SERVICES_STATE": str(self.folder),
            "PORT_OFFSET": str(self.offset),
            "PATH": f"{path or self.folder / 'no-engine'}:{os.environ['PATH']}",
        }
        return subprocess.run([SCRIPT, *arguments], env=environment, text=True, capture_output=True, timeout=150)

    def up(self, *servers: str) -> None:
        done = self.script("up", *servers)
        assert done.returncode == 0, done.stderr

    def pid(self, server: str) -> int:
        return int((self.folder / "pid" / server).read_text())


def program(path: Path, lines: str) -> Path:
    """A shell script at that path; gives its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return path.parent


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, next(offset for offset in OFFSETS if not any(listens(at(offset, port)) for port in PORTS)))
    program(tmp_path / "no-engine" / "docker", "exit 1")
    yield made
    made.script("down")


@pytest.fixture
def light(place: Place) -> Place:
    """A place that has the programs of the two servers that start at once."""
    fetch("s3", "toxiproxy")
    shutil.copytree(STATE / "bin", place.folder / "bin", copy_function=os.symlink)
    return place


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of the servers."""
    with subprocess.Popen(["sleep", "120"]) as process:
        yield process
        process.kill()


@pytest.mark.services
def test_a_second_start_changes_nothing(light: Place) -> None:
    """Servers that run are left alone, and each start ends when they answer."""
    light.up("s3", "toxiproxy")
    before = light.pid("s3"), light.pid("toxiproxy")
    assert listens(light.address(7070)) and listens(light.address(8474))
    light.up("s3", "toxiproxy")
    assert (light.pid("s3"), light.pid("toxiproxy")) == before
    assert {path.name for path in (light.folder / "data" / "s3").iterdir()} >= {"assets", "tables"}


@pytest.mark.services
def test_the_end_is_of_those_that_were_started(light: Place, stranger: subprocess.Popen[bytes]) -> None:
    """`down` ends the servers of this place, and a process that a stale pid file names lives on."""
    light.up("toxiproxy", "s3")
    own = (light.folder / "pid" / "s3").read_text()
    (light.folder / "pid" / "s3").write_text(str(stranger.pid))
    assert "s3 is down" in light.script("status").stdout
    assert light.script("down").returncode == 0
    assert stranger.poll() is None
    assert not listens(light.address(8474)) and listens(light.address(7070))
    (light.folder / "pid" / "s3").write_text(own)
    assert light.script("down").returncode == 0
    assert not listens(light.address(7070))


@pytest.mark.services
def test_a_dead_server_is_started_anew(light: Place) -> None:
    """After a kill -9 its pid file is stale, and the next start brings the server back."""
    light.up("toxiproxy")
    old = light.pid("toxiproxy")
    os.kill(old, 9)
    assert eventually(lambda: not listens(light.address(8474)))
    light.up("toxiproxy")
    assert light.pid("toxiproxy") != old and listens(light.address(8474))


@pytest.mark.services
def test_a_taken_port_is_named(light: Place) -> None:
    """A port that another process has is an error that says so, and nothing is started."""
    with closing(socket.create_server(("127.0.0.1", 8474 + light.offset))):
        done = light.script("up", "toxiproxy")
    assert done.returncode == 1 and f"port {8474 + light.offset}, which toxiproxy needs, is taken" in done.stderr
    assert not (light.folder / "pid" / "toxiproxy").exists()


@pytest.mark.services
def test_a_server_that_ends_at_once_is_an_error(light: Place) -> None:
    """Where a server does not come up, its last lines are shown."""
    broken = light.folder / "bin" / "toxiproxy@v2.12.0"
    broken.unlink()
    program(broken, "echo out of luck; exit 1")
    done = light.script("up", "toxiproxy")
    assert done.returncode == 1 and "toxiproxy did not start: out of luck" in done.stderr


@pytest.mark.services
def test_all_are_up_during_a_command(light: Place) -> None:
    """A command finds all servers; at its end, also a bad one, those that ran before go on and the others are gone."""
    fetch()
    (light.folder / "kafka").symlink_to(STATE / "kafka")
    light.up("toxiproxy")
    pid = light.pid("toxiproxy")
    done = light.script("during", "sh", "-c", f"{SCRIPT} status; exit 7")
    assert done.returncode == 7, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[-4:]] == ["runs"] * 4
    assert light.pid("toxiproxy") == pid and listens(light.address(8474))
    assert not any(listens(light.address(port)) for port in (9092, 7070, 8080))


@pytest.mark.parametrize(
    ("server", "tool", "says"),
    [
        ("toxiproxy", "go", "go is not installed, and toxiproxy needs it"),
        ("kafka", "mvn", "mvn is not installed, and Kafka needs it"),
        ("kafka", "java", "java is not installed, and Kafka needs it"),
    ],
)
def test_a_missing_tool_is_named(server: str, tool: str, says: str, place: Place, monkeypatch) -> None:
    """What has to be installed is said before anything is started."""
    tools = {"bash", "cat", "cmp", "dirname", "flock", "grep", "mkdir", "timeout"} | {"go", "mvn", "java"} - {tool}
    for name in tools:
        if not (found := shutil.which(name)):
            found = program(place.folder / "elsewhere" / name, "exit 1") / name
        (place.folder / "no-engine" / name).symlink_to(found)
    monkeypatch.setenv("PATH", "/nothing")
    done = place.script("up", server)
    assert done.returncode == 1 and says in done.stderr


def test_an_unknown_server_is_an_error(place: Place) -> None:
    """A name that no server has is told, with those that are."""
    done = place.script("up", "rabbit")
    assert done.returncode == 1 and "'rabbit'" in done.stderr and "weaviate" in done.stderr


def test_a_container_engine_is_used_where_it_runs(place: Place) -> None:
    """Where docker and its compose answer, they start and end the server, and no process is."""
    calls = place.folder / "calls"
    recording = program(place.folder / "engine" / "docker", f'echo "$@" >>{calls}')
    assert place.script("up", "kafka", path=recording).returncode == 0
    assert place.script("down", "kafka", path=recording).returncode == 0
    compose = f"compose --file {ROOT}/services/../compose.yaml"
    assert f"{compose} up --detach --wait kafka\n" in calls.read_text()
    assert f"{compose} rm --stop --force kafka\n" in calls.read_text()
    assert list((place.folder / "pid").iterdir()) == []


def composed() -> dict[str, dict[str, Any]]:
    """The services of compose.yaml."""
    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def test_containers_are_of_the_versions_that_are_built() -> None:
    """compose.yaml and services.sh name the same version of each server."""
    script, pom = SCRIPT.read_text(), (SCRIPT.parent / "pom.xml").read_text()
    built = {name.lower(): version for name, version in re.findall(r"\b([A-Z0-9]+)_VERSION=v(\S+)", script)}
    del built["kustomize"]  # a tool of tests
    built["kafka"] = re.findall(r"kafka_2.13</artifactId>\s*<version>(.+?)<", pom)[0]
    images = {name: service["image"].rsplit(":", 1)[1].removeprefix("v") for name, service in composed().items()}
    assert images == built


def test_containers_have_the_ports_of_the_processes(place: Place) -> None:
    """Each port that compose.yaml and the servers' settings default to is the one that services.sh gives."""
    shared = [ROOT / "compose.yaml", *SCRIPT.parent.glob("*.env")]
    defaults = {pair for path in shared for pair in re.findall(r"\$\{(\w+):-(\d+)\}", path.read_text())}
    given = set(re.findall(r"(\w+_PORT)=\$\(\((\d+) \+ offset\)\)", SCRIPT.read_text()))
    assert defaults == given and len(given) == 12
    assert all(f"${{{name}:-" in "".join(path.read_text() for path in shared) for name, _ in given)


def test_containers_have_the_settings_of_the_processes() -> None:
    """Each container gets its server's settings file, and the arguments that services.sh gives the process."""
    assert set(composed()) == set(SERVERS)
    for name, service in composed().items():
        assert service["network_mode"] == "host"
        assert service.get("env_file", "services/toxiproxy.env") == f"services/{name}.env"
        arguments = " ".join(service.get("command", ())).replace("/data", "$state/data/s3")
        arguments = re.sub(r"\$\{(\w+):-\d+\}", r"$\1", arguments)
        assert arguments in re.sub(r'"|\\\n *', "", SCRIPT.read_text())


@pytest.mark.parametrize(
    ("demanded", "outcome"), [({}, "1 skipped"), ({"SERVICES": "demanded"}, "1 error"), ({"CI": "true"}, "1 error")]
)
def test_absent_servers_fail_a_test_only_on_demand(demanded: dict[str, str], outcome: str, place: Place) -> None:
    """Without servers a test that needs them is left out and named; in CI and in `make test-all` it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "SERVICES")}
    environment |= {"PORT_OFFSET": str(place.offset), "COLUMNS": "200", **demanded}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"{__file__}::test_a_taken_port_is_named"]
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=60)
    assert outcome in done.stdout
    assert "nobody answers for Kafka, Weaviate, S3, Toxiproxy: make services" in done.stdout
