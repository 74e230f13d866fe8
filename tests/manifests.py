"""The Kubernetes manifests as kustomize renders them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from chaos.servers import SCRIPT, STATE, fetch

Object = dict[str, Any]
K8S = SCRIPT.parent.parent / "k8s"
OVERLAYS = ("dev", "prod", "gpu")


@cache
def kustomize() -> Path:
    """The program, which is built where it is missing."""
    (version,) = re.findall(r"KUSTOMIZE_VERSION=(\S+)", SCRIPT.read_text())
    program = STATE / "bin" / f"kustomize@{version}"
    if not program.exists():
        fetch("kustomize")
    return program


@dataclass(frozen=True)
class Manifests:
    """The objects of an overlay."""

    objects: list[Object]

    def of(self, *kinds: str) -> list[Object]:
        """Those of some kinds."""
        return [found for found in self.objects if found["kind"] in kinds]

    def named(self, kind: str, name: str) -> Object:
        """The one of this name."""
        (found,) = (each for each in self.of(kind) if each["metadata"]["name"] == name)
        return found

    def flows(self) -> dict[str, Object]:
        """The StatefulSets of flows, by flow."""
        component = "app.kubernetes.io/component"
        sets = (found for found in self.of("StatefulSet") if component in found["metadata"]["labels"])
        return {found["metadata"]["labels"][component]: found for found in sets}

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Every pod's template, with the name of what makes it."""
        for found in self.of("StatefulSet", "Job", "CronJob"):
            spec = found["spec"]["jobTemplate"]["spec"] if found["kind"] == "CronJob" else found["spec"]
            yield found["metadata"]["name"], spec["template"]


def build(folder: Path) -> Manifests:
    """What kustomize makes of a folder. Raises AssertionError with its words."""
    done = subprocess.run([kustomize(), "build", folder], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return Manifests(list(yaml.safe_load_all(done.stdout)))


@cache
def overlay(name: str) -> Manifests:
    """One of the project's overlays."""
    return build(K8S / "overlays" / name)


def containers(pod: Object) -> list[Object]:
    """A pod's containers, those that initialise it too."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels: matchLabels, and matchExpressions with `In`."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", ()))
