"""A pod of a rendered manifest as processes of this machine: its very commands, environment, volumes and probes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any

from local_images import Image, Mount, as_user, entered

Object = dict[str, Any]
_BACKOFF_S, _LOOK_S = 1.0, 0.5
_VARIABLE = re.compile(r"\$\((\w+)\)")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


@dataclass(frozen=True)
class Node:
    """What a pod finds where it runs: images, ConfigMaps, Secrets, volumes that outlive it, and names of hosts."""

    folder: Path
    images: Mapping[str, Image]
    maps: Mapping[str, Mapping[str, str]]
    secrets: Mapping[str, Mapping[str, str]]
    hosts: Path


@dataclass
class Pod:
    """It starts at once, on a thread of its own, and restarts its container until it is deleted.

    `codes` are those with which its container ended, `drain_s` how long that took after it was deleted.
    """

    name: str
    template: Object
    address: str
    node: Node
    claims: tuple[str, ...] = ()
    codes: list[int] = field(default_factory=list)
    ready: bool = False
    drain_s: float | None = None
    again: bool = True

    def __post_init__(self) -> None:
        self.folder = self.node.folder / "run" / f"{self.name}-{os.urandom(3).hex()}"
        self._running: subprocess.Popen[bytes] | None = None
        self._deleted = threading.Event()
        self._thread = threading.Thread(target=self._live, name=self.name, daemon=True)
        self._thread.start()

    @property
    def spec(self) -> Object:
        """Its specification."""
        found: Object = self.template["spec"]
        return found

    @property
    def alive(self) -> bool:
        """Whether it has not ended for good."""
        return self._thread.is_alive()

    def wait(self, seconds: float) -> int:
        """The last exit code of a pod that ends by itself."""
        self._thread.join(seconds)
        assert not self.alive, f"{self.name} goes on after {seconds:g} s"
        return self.codes[-1] if self.codes else 0

    def send(self, number: Signals) -> None:
        """A signal to its container's process."""
        if (pid := self._pid()) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def delete(self) -> None:
        """Asks it to end: SIGTERM, and SIGKILL after its grace period."""
        if not self._deleted.is_set():
            self._deleted.set()
            threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        started = time.monotonic()
        self.send(SIGTERM)
        self._thread.join(self.spec["terminationGracePeriodSeconds"])
        self.send(SIGKILL)
        self._thread.join()
        self.drain_s = time.monotonic() - started

    def _pid(self) -> int | None:
        """The container's first process, which is the only child of what was started."""
        if self._running is None or self._running.poll() is not None:
            return None
        pid = self._running.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else None

    def _live(self) -> None:
        try:
            for container in self.spec.get("initContainers", ()):
                while not self._deleted.is_set() and self._run(container) and not self._deleted.wait(_BACKOFF_S):
                    pass
            (main,) = self.spec["containers"]
            while not self._deleted.is_set():
                self.codes.append(self._run(main))
                if not self.again:
                    return
                self._deleted.wait(_BACKOFF_S)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, container: Object) -> int:
        """Runs a container to its end, under its probes; its exit code."""
        log = self.node.folder / "logs" / f"{self.name}.{container['name']}"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as said:
            options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said}
            self._running = subprocess.Popen(self._command(container), start_new_session=True, **options)
            started = False
            while self._running.poll() is None:
                started = started or self._probe(container, "startupProbe")
                self.ready = started and self._probe(container, "readinessProbe")
                with suppress(subprocess.TimeoutExpired):
                    self._running.wait(_LOOK_S)
        self.ready = False
        return self._running.returncode

    def _probe(self, container: Object, kind: str) -> bool:
        if kind not in container:
            return False
        asked = container[kind]["httpGet"]
        (port,) = (each["containerPort"] for each in container["ports"] if each["name"] == asked["port"])
        asking = HTTPConnection(self.address, port, timeout=container[kind].get("timeoutSeconds", 1))
        try:
            asking.request("GET", asked["path"])
            return asking.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            asking.close()

    def _command(self, container: Object) -> list[str]:
        image = self.node.images[container["image"]]
        environment = {**image.config.environment, "HOSTNAME": self.name, **self.environment(container)}
        command = container.get("command", image.config.entrypoint)
        words = [*command, *(_filled(word, environment) for word in container.get("args", image.config.command))]
        context = self.spec["securityContext"]
        assert container["securityContext"]["readOnlyRootFilesystem"] and context["runAsNonRoot"]
        groups = [context["fsGroup"]] if "fsGroup" in context else []
        user = as_user(context["runAsUser"], context["runAsGroup"], groups, environment)
        scratch = self.folder / f".{container['name']}-{os.urandom(3).hex()}"
        return entered(image, self._mounts(container), [*user, *words], scratch, folder=image.config.folder)

    def environment(self, container: Object) -> dict[str, str]:
        """The environment that the manifest gives to a container."""
        made: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            made.update(self.node.maps[source["configMapRef"]["name"]])
        for variable in container.get("env", ()):
            value = variable.get("value")
            value = self._looked_up(container, **variable["valueFrom"]) if value is None else _filled(value, made)
            if value is not None:
                made[variable["name"]] = value
        return made

    def _looked_up(self, container: Object, **source: Any) -> str | None:
        match source:
            case {"fieldRef": {"fieldPath": "metadata.name"}}:
                return self.name
            case {"fieldRef": {"fieldPath": "status.podIP"}}:
                return self.address
            case {"fieldRef": {"fieldPath": path}} if found := _KEYED.fullmatch(path):
                return str(self.template["metadata"][found[1]][found[2]])
            case {"resourceFieldRef": {"resource": "requests.cpu"}}:
                cpu = container["resources"]["requests"]["cpu"]
                return str(max(1, round(int(cpu[:-1]) / 1000 + 0.499) if cpu.endswith("m") else int(cpu)))
            case {"secretKeyRef": {"name": name, "key": key, **rest}}:
                assert key in self.node.secrets[name] or rest.get("optional"), key
                return self.node.secrets[name].get(key)
        raise ValueError(f"{source} is not known here")

    def _mounts(self, container: Object) -> list[Mount]:
        """The container's volumes, each after those that it lies in, and the names of hosts."""
        volumes = {volume["name"]: volume for volume in self.spec["volumes"]}
        made = [Mount(self.node.hosts, "/etc/hosts", read_only=True)]
        for mount in sorted(container.get("volumeMounts", ()), key=lambda mount: mount["mountPath"]):
            source = self._volume(mount["name"], volumes.get(mount["name"], {}))
            for outer in (each for each in made if Path(mount["mountPath"]).is_relative_to(each.target)):
                (outer.source / Path(mount["mountPath"]).relative_to(outer.target)).mkdir(exist_ok=True)
            made.append(Mount(source, mount["mountPath"], mount.get("readOnly", False)))
        return made

    def _volume(self, name: str, volume: Object) -> Path:
        """The folder of a volume: the pod's own, or one that outlives it; its group may write there."""
        if name in self.claims:
            path = self.node.folder / "claims" / f"{name}-{self.name}"
        elif claim := volume.get("persistentVolumeClaim"):
            path = self.node.folder / "claims" / claim["claimName"]
        else:
            path = self.folder / name
        if not path.exists():
            path.mkdir(parents=True)
            for file, text in self.node.maps[volume["configMap"]["name"]].items() if "configMap" in volume else ():
                (path / file).write_text(text)
            os.chown(path, -1, self.spec["securityContext"].get("fsGroup", 0))
            path.chmod(0o2775 if name in self.claims or "persistentVolumeClaim" in volume else 0o777)
        return path


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Text with `$(NAME)` in place, as Kubernetes does it."""
    return _VARIABLE.sub(lambda found: values.get(found[1], found[0]), text)
