"""A stand-in for a cluster, for tests: it runs the pods of StatefulSets and jobs as processes of this machine.

It keeps StatefulSets in files, which `local_kubectl` reads and patches, and does what their controller would:
one pod an ordinal, all at once, the newest template for those that are made. It knows no rolling update.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import local_kubectl
from local_images import Image
from local_pods import Node, Pod
from manifests import Manifests

Object = dict[str, Any]
_LOOK_S = 0.2
_ORDINALS = range(8)


class LocalCluster:
    """Use `local_cluster`. `gone` are the pods that were deleted, and have ended."""

    def __init__(
        self, folder: Path, manifests: Manifests, images: Mapping[str, Image],
        secrets: Mapping[str, Mapping[str, str]], hosts: Mapping[str, str],
    ) -> None:  # fmt: skip
        """`hosts` are the addresses of names beside those of pods."""
        self.folder, self._manifests = folder, manifests
        self.pods: dict[str, Pod] = {}
        self.gone: list[Pod] = []
        self._numbers = {f"flow-{flow}": number for number, flow in enumerate(manifests.flows())}
        names = {f"{name}-{i}.{name}": self._address(name, i) for name in self._numbers for i in _ORDINALS}
        folder.mkdir(parents=True)
        lines = [f"{address} {name}\n" for name, address in {"localhost": "127.0.0.1", **names, **hosts}.items()]
        (folder / "hosts").write_text("".join(lines))
        maps = {found["metadata"]["name"]: found.get("data") or {} for found in manifests.of("ConfigMap")}
        self._node = Node(folder, images, maps, secrets, folder / "hosts")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._control, name="controller", daemon=True)

    def _address(self, name: str, ordinal: int) -> str:
        """Loopback has addresses enough for each pod to have its own."""
        return f"127.77.{self._numbers[name]}.{ordinal + 1}"

    def apply(self, *flows: str) -> None:
        """Makes the StatefulSets of these flows, and a `kubectl` in the folder `bin`."""
        for kind in ("statefulsets", "pods"):
            (self.folder / kind).mkdir()
        for flow in flows:
            made = deepcopy(self._manifests.flows()[flow])
            made["metadata"]["generation"] = 1
            (self.folder / "statefulsets" / f"{made['metadata']['name']}.json").write_text(json.dumps(made))
            (self.folder / "namespace").write_text(made["metadata"]["namespace"])
        program = self.folder / "bin" / "kubectl"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {local_kubectl.__file__} {self.folder} "$@"\n')
        program.chmod(0o755)
        self._thread.start()

    def of(self, flow: str) -> list[Pod]:
        """A flow's pods, by ordinal."""
        return [pod for name, pod in sorted(self.pods.items()) if name.startswith(f"flow-{flow}-")]

    def run_job(self, name: str, seconds: float = 90.0) -> int:
        """Runs the pod of a Job or CronJob; its exit code."""
        template = dict(self._manifests.pods())[name]
        return Pod(name, template, "127.77.100.1", self._node, again=False).wait(seconds)

    def log(self, name: str) -> str:
        """What a pod's containers have said."""
        return "".join(path.read_text() for path in sorted((self.folder / "logs").glob(f"{name}.*")))

    def stop(self) -> None:
        """Ends all pods."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for pod in self.pods.values():
            pod.delete()
        for pod in self.pods.values():
            pod.wait(pod.spec["terminationGracePeriodSeconds"] + 5)

    def _control(self) -> None:
        while not self._stop.wait(_LOOK_S):
            with local_kubectl.locked(self.folder):
                for path, found in local_kubectl.objects(self.folder, "statefulsets"):
                    path.write_text(json.dumps({**found, "status": self._reconciled(found)}))

    def _reconciled(self, found: Object) -> Object:
        """Makes and deletes pods, all at once; the StatefulSet's status."""
        assert found["spec"]["podManagementPolicy"] == "Parallel"
        name, replicas = found["metadata"]["name"], found["spec"]["replicas"]
        mine = {int(key.rpartition("-")[2]): key for key in self.pods if key.rpartition("-")[0] == name}
        for ordinal, key in mine.items():
            if ordinal >= replicas:
                self.pods[key].delete()
            if not self.pods[key].alive:
                (self.folder / "pods" / f"{key}.json").unlink()
                self.gone.append(self.pods.pop(key))
        for ordinal in range(replicas):
            if ordinal not in mine:
                self._make(found, ordinal)
        ready = sum(self.pods[f"{name}-{i}"].ready for i in range(replicas) if f"{name}-{i}" in self.pods)
        return {"observedGeneration": found["metadata"]["generation"], "readyReplicas": ready}

    def _make(self, found: Object, ordinal: int) -> None:
        name = f"{found['metadata']['name']}-{ordinal}"
        template = deepcopy(found["spec"]["template"])
        template["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = str(ordinal)
        claims = tuple(each["metadata"]["name"] for each in found["spec"].get("volumeClaimTemplates", ()))
        self.pods[name] = Pod(name, template, self._address(found["metadata"]["name"], ordinal), self._node, claims)
        listed = {"metadata": {"name": name, "labels": template["metadata"]["labels"]}}
        (self.folder / "pods" / f"{name}.json").write_text(json.dumps(listed))


@contextmanager
def local_cluster(
    folder: Path, manifests: Manifests, images: Mapping[str, Image], secrets: Mapping[str, Mapping[str, str]],
    hosts: Mapping[str, str],
) -> Iterator[LocalCluster]:  # fmt: skip
    """A cluster none of whose pods is left at the end."""
    made = LocalCluster(folder, manifests, images, secrets, hosts)
    try:
        yield made
    finally:
        made.stop()
