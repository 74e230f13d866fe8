"""How many processes a flow needs, and the change of their number in a Kubernetes cluster, by `kubectl`."""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dataflows.topics import topic_of
from schemas.settings import Settings
from sources.kafka_admin import KafkaAdmin

PROCESSES = "asset-pipeline/processes"
Row = dict[str, Any]
_POLL_S, _KAFKA_S = 1.0, 15.0


def advised(*, processes: int, in_hand: int, unfinished: int, oldest_s: float, within_s: float, partitions: int) -> int:
    """How many processes a flow needs so that what it has is finished within `within_s`, as one of them sees it.

    `unfinished` are the messages of this process's partitions that are not finished, `in_hand` the assets that it
    works on, the oldest for `oldest_s`. It finishes in_hand / oldest_s of them a second (Little's law, at the worst),
    and so all of them in unfinished * oldest_s / in_hand seconds; the others are taken to be as busy. So it is

        ceil(processes * unfinished * oldest_s / (in_hand * within_s))

    but no more than there are messages, since one long video goes no faster by more processes, and no more than there
    are partitions. Where work waits and none is in hand nothing is known, and it is as many as there are.
    """
    unfinished = max(unfinished, in_hand)
    if unfinished and not in_hand:
        return processes
    needed = math.ceil(processes * unfinished * oldest_s / (in_hand * within_s)) if in_hand else 1
    return max(1, min(needed, processes * unfinished, partitions))


@dataclass(frozen=True)
class Deployed:
    """A flow's StatefulSet: its name, the replicas and processes that it is to have, and those that are ready."""

    name: str
    replicas: int
    processes: int
    ready: int


@dataclass(frozen=True)
class Step:
    """What is done: a patch of the StatefulSet, or a wait."""

    says: str
    command: tuple[str, ...] = ()
    until: Callable[[], bool] = lambda: True


class Deployment:
    """A flow in a cluster. Raises RuntimeError, with what to do, where kubectl is missing or refuses."""

    def __init__(self, flow: str, context: str = "", namespace: str = "") -> None:
        topic_of(flow)
        self.flow = flow
        self._options = [*(("--context", context) if context else ()), *(("-n", namespace) if namespace else ())]
        self._selector = f"app.kubernetes.io/name=asset-pipeline,app.kubernetes.io/component={flow}"

    def found(self) -> Deployed:
        """As it is now. Raises RuntimeError also where there is no such StatefulSet, or more than one."""
        sets = self._get("statefulsets")
        if len(sets) != 1:
            where = f"{len(sets)} StatefulSets have the labels {self._selector}"
            raise RuntimeError(f"{where}: name the namespace (-n) in which the flow is deployed (kubectl apply -k)")
        (found,) = sets
        spec, status = found["spec"], found.get("status", {})
        known = status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
        return Deployed(
            name=found["metadata"]["name"],
            replicas=spec["replicas"],
            processes=int(spec["template"]["metadata"].get("annotations", {}).get(PROCESSES, 0)),
            ready=status.get("readyReplicas", 0) if known else 0,
        )

    def drain(self) -> Iterator[Step]:
        """The steps that end all processes of the flow; what is unfinished stays for those that start later."""
        found = self.found()
        if found.replicas:
            yield self._patch("SIGTERM to all pods, which drain", found, {"spec": {"replicas": 0}})
        yield Step("wait until no pod is left", until=lambda: not self._get("pods"))

    def rescale(self, count: int) -> Iterator[Step]:
        """The steps to so many processes, from wherever an earlier call was broken off."""
        found = self.found()
        if (found.replicas, found.processes) != (count, count):
            yield from self.drain()
            template = {"metadata": {"annotations": {PROCESSES: str(count)}}}
            change = {"spec": {"replicas": count, "template": template}}
            yield self._patch(f"start {count} at the oldest unfinished offsets", found, change)
        yield Step(f"wait until {count} are ready", until=lambda: self.found().ready == count)

    def _patch(self, says: str, found: Deployed, change: dict[str, Any]) -> Step:
        return Step(says, ("patch", "statefulset", found.name, "--type=merge", f"--patch={json.dumps(change)}"))

    def _get(self, kind: str) -> list[dict[str, Any]]:
        answer = json.loads(self.ask("get", kind, f"--selector={self._selector}", "-o", "json"))
        items: list[dict[str, Any]] = answer["items"]
        return items

    def command(self, *arguments: str) -> list[str]:
        """A command line of kubectl."""
        return ["kubectl", *self._options, *arguments]

    def ask(self, *arguments: str) -> str:
        """What kubectl answers."""
        try:
            done = subprocess.run(self.command(*arguments), text=True, capture_output=True, timeout=60)
        except FileNotFoundError as error:
            raise RuntimeError("kubectl is not installed: install it, and give it a context of the cluster") from error
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(
                "kubectl gives no answer: see whether the cluster is reached (kubectl version)"
            ) from error
        if done.returncode:
            needs = "it has to be allowed to get pods, and to get and patch statefulsets"
            *_logged, reason = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise RuntimeError(f"kubectl refuses: {reason} ({needs})")
        return done.stdout


def check(settings: Settings, flow: str, count: int) -> None:
    """Raises ValueError where some of so many processes would have nothing to read, RuntimeError without an answer."""
    partitions = KafkaAdmin(settings, _KAFKA_S).partitions(topic_of(flow))
    if count > partitions:
        raise ValueError(f"{flow} reads {partitions} partitions: more processes than that would have nothing to read")


def carried_out(deployment: Deployment, steps: Iterator[Step], timeout_s: float, dry: bool) -> Iterator[Row]:
    """A row for each step, which is done once the next one is asked for, unless it is a dry run.

    Raises RuntimeError where a wait is not over after `timeout_s`.
    """
    for step in steps:
        yield {"step": step.says, "command": shlex.join(deployment.command(*step.command)) if step.command else ""}
        if not dry:
            if step.command:
                deployment.ask(*step.command)
            _wait(step, timeout_s)


def _wait(step: Step, timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while not step.until():
        if time.monotonic() > until:
            look = "see `kubectl get pods`, and run this again: it goes on from there"
            raise RuntimeError(f"{step.says}: this lasts more than {timeout_s:g} s; {look}")
        time.sleep(_POLL_S)
