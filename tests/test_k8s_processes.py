"""The rendered manifests at work: their pods as processes on real servers, killed, rescaled and drained."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from unittest.mock import patch

import pytest
import yaml
from flow_runs import document, picture
from image_fixtures import lite_image  # noqa: F401
from local_cluster import LocalCluster, local_cluster
from local_images import Image
from manifests import K8S, Manifests, build
from typer.testing import CliRunner

from chaos.stack import SERVERS, Stack
from chaos.waiting import eventually
from dataflows.cli import app
from dataflows.connections import ensure_buckets

pytestmark = [
    pytest.mark.services,
    pytest.mark.tool("unshare"),
    pytest.mark.tool("dpkg-query"),
    pytest.mark.timeout(400),
]
FLOWS = ("ingest", "derive", "chunks", "enrich", "register", "publish", "usage")
PROGRAM = Path(sys.executable).with_name("asset-pipeline")
SECRETS = {"asset-pipeline": {"s3-access-key": "test", "s3-secret-key": "testsecret"}}
HOSTS = {"kafka": "127.0.0.1", "s3": "127.0.0.1", "weaviate": "127.0.0.1"}
OPERATIONS = (K8S.parent / "OPERATIONS.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", OPERATIONS, re.S) for line in block.splitlines()]
# those that say with exit code 3 that there is nothing
NOTHING = {"asset-pipeline usage"}
READY_S, NAMESPACE = 120.0, "asset-pipeline-dev"


@dataclass
class Place:
    """A cluster of the test's own topics, bucket and collections, and who works with it from outside."""

    stack: Stack
    cluster: LocalCluster

    @property
    def environment(self) -> dict[str, str]:
        """The driver's, with the stand-in for kubectl before any other."""
        return self.stack.environment() | {"PATH": f"{self.cluster.folder}/bin:{os.environ['PATH']}"}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """The command as a process."""
        return subprocess.Popen([PROGRAM, *arguments], env=self.environment, stdout=subprocess.DEVNULL)

    def run(self, *arguments: str | Path, code: int = 0) -> list[dict[str, str]]:
        """The rows of the command, which ends with this exit code."""
        with patch.dict(os.environ, self.environment):
            done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
        assert done.exit_code == code, done.output + self.logs()
        return [json.loads(line) for line in done.stdout.splitlines()]

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        """A command as a person types it, who has the settings in the environment."""
        environment = self.environment | {"PATH": f"{PROGRAM.parent}:{self.environment['PATH']}"}
        return subprocess.run(
            command, shell=True, env=environment, text=True, cwd=self.cluster.folder, capture_output=True, timeout=240
        )

    def of(self, command: str, *arguments: str) -> tuple[str, ...]:
        """A command about the cluster."""
        return (command, *arguments, "-n", NAMESPACE)

    def ready(self, counts: dict[str, int]) -> None:
        """Waits until so many pods of flows are ready."""

        def are() -> bool:
            return all([pod.ready for pod in self.cluster.of(flow)] == [True] * n for flow, n in counts.items())

        assert eventually(are, READY_S), self.logs()

    def logs(self) -> str:
        """The last lines of every pod."""
        paths = sorted((self.cluster.folder / "logs").glob("*"))
        return "".join(f"\n{path.name}: {path.read_text()[-1500:]}" for path in paths)

    def check_drained(self, pods: int) -> None:
        """So many pods have ended since the last check, by themselves and within their grace period."""
        assert len(self.cluster.gone) == pods
        for pod in self.cluster.gone:
            assert pod.codes[-1] == 0, self.cluster.log(pod.name)[-3000:]
            assert pod.drain_s is not None and pod.drain_s < pod.spec["terminationGracePeriodSeconds"]
        self.cluster.gone.clear()


def rendered(stack: Stack, folder: Path) -> Manifests:
    """The overlay `dev` with the stack's own topics, bucket and collections; two processes a flow."""
    fields = stack.flows.model_dump(include={"topic_prefix", "partitions", "objects", "tables", "tenant"})
    index = re.sub(r"//[^/]+/", "//weaviate:8080/", stack.flows.index)
    literals = {**fields, "index": index, "unfinished": 8}
    up = "../" * (len(folder.resolve().parts) - 1)
    folder.mkdir()
    kustomization = {
        "resources": [f"{up}../{(K8S / 'overlays/dev').relative_to('/')}"],
        "transformers": [f"{up}../{(K8S / 'processes').relative_to('/')}"],
        "replicas": [{"name": f"flow-{flow}", "count": 2} for flow in FLOWS],
        "configMapGenerator": [
            {
                "name": "settings",
                "namespace": NAMESPACE,
                "behavior": "merge",
                "literals": [f"ASSET_PIPELINE_{name.upper()}={value}" for name, value in literals.items()],
            },
            {"name": "pipelines", "namespace": NAMESPACE, "behavior": "merge", "files": ["pipelines.toml"]},
        ],
    }
    (folder / "pipelines.toml").write_text('[default]\nprofile = "none"\n')  # models are tested elsewhere
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return build(folder)


@pytest.fixture(scope="module")
def place(lite_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:  # noqa: F811
    """All flows, ready."""
    folder = tmp_path_factory.mktemp("cluster")
    stack = Stack(folder / "stack", SERVERS, SERVERS)
    stack.inputs.mkdir(parents=True)
    (stack.folder / "pipelines.toml").touch()
    asyncio.run(ensure_buckets(stack.settings))
    images = {"asset-pipeline:dev": lite_image, "asset-pipeline:dev-asr": lite_image}
    with local_cluster(folder / "k8s", rendered(stack, folder / "overlay"), images, SECRETS, HOSTS) as cluster:
        try:
            assert cluster.run_job("topics") == 0, cluster.log("topics")
            cluster.apply(*FLOWS)
            made = Place(stack, cluster)
            made.ready(dict.fromkeys(FLOWS, 2))
            yield made
        finally:
            for flow in FLOWS:
                for pod in cluster.of(flow):
                    pod.delete()
            stack.remove()


def test_pods_work_die_and_come_back(place: Place) -> None:
    """Each pod's environment is its ordinal's; assets go through; a killed process is replaced in its pod."""
    for flow in ("derive", "usage"):
        for number, pod in enumerate(place.cluster.of(flow)):
            given = pod.environment(pod.spec["containers"][0])
            assert (given["ASSET_PIPELINE_PROCESS"], given["ASSET_PIPELINE_PROCESSES"]) == (str(number), "2")
    inputs = place.stack.inputs
    files = [*(picture(inputs / f"{seed}.png", seed) for seed in range(3)), document(inputs / "page.pdf")]
    (killed, _other), (first, peer) = place.cluster.of("derive"), place.cluster.of("usage")
    killed.send(SIGKILL)
    first.send(SIGKILL)
    pods = (killed, first, peer)
    assert eventually(lambda: all(pod.codes for pod in pods), 60), place.logs()
    assert all(pod.codes[0] for pod in pods)
    assert len(place.run("submit", *files, "--wait", "--timeout", "200")) == len(files)
    place.ready({"derive": 2, "usage": 2})


def test_a_rescale_goes_on_where_it_was_broken_off(place: Place) -> None:
    """All processes drain, and as many as are wanted start; also where the command is killed in between."""
    assert place.run(*place.of("rescale", "derive", "7"), code=2) == []
    plan = place.run(*place.of("rescale", "derive", "3"), "--dry-run")
    assert [row["command"].split(" ")[3:5] for row in plan if row["command"]] == [["patch", "statefulset"]] * 2
    assert len(place.cluster.of("derive")) == 2
    files = [picture(place.stack.inputs / f"{seed}.png", seed) for seed in range(3, 6)]
    place.run("submit", *files)
    with place.start(*place.of("rescale", "derive", "3")) as broken:
        assert eventually(lambda: not all(pod.ready for pod in place.cluster.of("derive")), 60, every_s=0.01)
        broken.kill()
    for flow in ("derive", "usage"):
        place.run(*place.of("rescale", flow, "3"))
    place.ready({"derive": 3, "usage": 3})
    place.check_drained(4)
    given = [pod.environment(pod.spec["containers"][0]) for pod in place.cluster.of("derive")]
    assert [each["ASSET_PIPELINE_PROCESS"] for each in given] == ["0", "1", "2"]
    assert {each["ASSET_PIPELINE_PROCESSES"] for each in given} == {"3"}
    assert place.run(*place.of("rescale", "derive", "3")) == [{"step": "wait until 3 are ready", "command": ""}]
    place.run("submit", *files, "--wait", "--timeout", "200")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_operations_run(place: Place, command: str) -> None:
    """In its order, beside the flows; only the namespace is another."""
    done = place.shell(re.sub(r"-n \S+", f"-n {NAMESPACE}", command))
    assert done.returncode == 0 or (done.returncode == 3 and command in NOTHING), done.stdout + done.stderr


def test_all_drain_and_what_was_made_is_whole(place: Place) -> None:
    """Each flow's processes end with exit code 0 within their grace period; then the jobs find nothing wrong."""
    for flow in FLOWS:
        place.run(*place.of("drain", flow))
    place.check_drained(3 + 2 + 2 + 2 + 2 + 2 + 2 + 3)  # the first three by the commands of OPERATIONS.md
    for job in ("maintain", "verify"):
        assert place.cluster.run_job(job) == 0, place.cluster.log(job)


def test_a_cluster_that_refuses_is_told(place: Place) -> None:
    """Where kubectl says no, so does the command, with kubectl's own reason."""
    with patch.dict(os.environ, place.environment):
        refused = CliRunner().invoke(app, ["drain", "derive", "-n", "elsewhere"])
    assert refused.exit_code == 3
    assert 'namespaces "elsewhere" not found' in refused.output and "allowed to get pods" in refused.output
