"""The processes of flows under a supervisor, which starts again what died, as an orchestrator does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from signal import SIGKILL, SIGTERM, Signals

from chaos.stack import Stack
from chaos.waiting import eventually

FLOWS = ("ingest", "derive", "enrich", "register", "publish")
ROOT = Path(__file__).parent.parent
DRAIN_S = 90.0
_LOOK_S, _BACKOFF_S, _MOST_BACKOFF_S, _LIVED_S = 0.1, 1.0, 8.0, 20.0


@dataclass
class Process:
    """One process of a flow, with `number` of `count`; `module` has the flow."""

    flow: str
    number: int
    count: int
    module: str
    stack: Stack
    running: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    backoff_s: float = _BACKOFF_S
    again_at: float = 0.0
    leaders: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As its log is named."""
        return f"{self.flow}-{self.number}"

    @property
    def store(self) -> Path:
        """The folder of its recovery store."""
        return self.stack.folder / "recovery" / self.name

    @property
    def folder(self) -> Path:
        """Where its lock and scratch lie."""
        return self.stack.flows.model_copy(update={"process": self.number}).process_folder(self.flow)

    @property
    def log(self) -> Path:
        """What it says."""
        return self.stack.folder / "logs" / self.name

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.running is not None and self.running.poll() is None

    def start(self) -> None:
        """Starts it, leader of a session of its own."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.store.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "bytewax.run", f"{self.module}:flow", "-r", str(self.store)]
        environment = self.stack.environment(process=self.number, processes=self.count)
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [*command, "-s", "1", "-b", "0"], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        self.started = time.monotonic()
        self.leaders.append(self.running.pid)

    def send(self, number: Signals) -> None:
        """Sends a signal to the process alone, not to its children."""
        if self.running is not None and self.alive:
            self.running.send_signal(number)

    def hears(self, number: Signals) -> bool:
        """Whether it runs and has a handler for a signal."""
        if self.running is None or not self.alive:
            return False
        status = Path(f"/proc/{self.running.pid}/status").read_text()
        (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught, 16) >> (number - 1) & 1)


class Fleet:
    """All processes of a case. `ended` has the exit codes of those that nobody ended, by their names."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.processes: list[Process] = []
        self.ended: list[tuple[str, int]] = []
        self.figures: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._expected: set[int] = set()
        self._leaders: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)

    def start(self, counts: dict[str, int], modules: dict[str, str] | None = None) -> None:
        """Starts so many processes of each of these flows; `modules` have another version of a flow."""
        with self._lock:
            for flow, count in counts.items():
                module = (modules or {}).get(flow, f"dataflows.{flow}")
                made = [Process(flow, number, count, module, self.stack) for number in range(count)]
                for process in made:
                    process.start()
                self.processes += made
        if not self._thread.is_alive():
            self._thread.start()

    def of(self, flows: Iterable[str]) -> list[Process]:
        """The processes of these flows."""
        wanted = set(flows)
        return [process for process in self.processes if process.flow in wanted]

    def kill(self, random: Random, flows: Sequence[str] = FLOWS) -> Process:
        """Kills -9 one of the processes that run, and waits for one that does."""
        while True:
            with self._lock:
                if alive := [process for process in self.of(flows) if process.alive]:
                    return self.kill_one(random.choice(alive))
            time.sleep(_LOOK_S)

    def kill_one(self, process: Process) -> Process:
        """Kills -9 this process."""
        with self._lock:
            if process.running is not None:
                self._expected.add(process.running.pid)
                process.send(SIGKILL)
                process.running.wait()
            self.figures["kills"] += 1
        return process

    def drain(self, flows: Sequence[str] = FLOWS) -> dict[str, int | None]:
        """SIGTERM to all processes of these flows, which are then forgotten; the exit codes by their names.

        A code is None where a process had to be killed since it did not end. Those that were not running, and those
        that had not come as far as to hear a signal, have none.
        """
        with self._lock:
            draining = self.of(flows)
            self.processes = [process for process in self.processes if process not in draining]
        heard = [process for process in draining if process.hears(SIGTERM)]
        for process in draining:
            self._leaders.update(process.leaders)
            process.send(SIGTERM)
        codes = {process.name: self._drained(process) for process in draining}
        return {process.name: codes[process.name] for process in heard}

    def renew(self, process: Process, module: str) -> int | None:
        """Drains one process, and starts one with the same number from another module; the first one's code."""
        with self._lock:
            self.processes.remove(process)
            self._leaders.update(process.leaders)
        process.send(SIGTERM)
        code = self._drained(process)
        new = replace(process, module=module, running=None, leaders=[])
        with self._lock:
            new.start()
            self.processes.append(new)
        return code

    @staticmethod
    def _drained(process: Process) -> int | None:
        if process.running is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            return process.running.wait(DRAIN_S)
        process.running.kill()
        process.running.wait()
        return None

    def stop(self) -> None:
        """Kills all that still runs."""
        self._stop.set()
        with self._lock:
            for process in self.processes:
                process.send(SIGKILL)
                if process.running is not None:
                    process.running.wait()
                self._leaders.update(process.leaders)
            self.processes.clear()

    def orphans(self, seconds: float = 10.0) -> list[int]:
        """Processes that outlived for some seconds the flow that had started them."""
        eventually(lambda: not _sessions(self._leaders), seconds)
        return _sessions(self._leaders)

    def _supervise(self) -> None:
        while not self._stop.wait(_LOOK_S):
            with self._lock:
                for process in self.processes:
                    self._look_after(process)

    def _look_after(self, process: Process) -> None:
        now = time.monotonic()
        if process.running is not None and not process.alive:
            lived = now - process.started
            process.backoff_s = _BACKOFF_S if lived > _LIVED_S else min(process.backoff_s * 2, _MOST_BACKOFF_S)
            process.again_at = now + process.backoff_s
            if process.running.pid not in self._expected:
                self.ended.append((process.name, process.running.returncode))
            process.running = None
        elif process.running is None and now >= process.again_at:
            self.figures["restarts"] += 1
            process.start()


def _sessions(leaders: set[int]) -> list[int]:
    """The processes of these sessions that still run, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            state, _parent, _group, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) in leaders and state != "Z":
                found.append(int(entry.name))
    return found


@contextmanager
def fleet(stack: Stack) -> Iterator[Fleet]:
    """A fleet, none of which is left at the end."""
    made = Fleet(stack)
    try:
        yield made
    finally:
        made.stop()
        for pid in made.orphans(5.0):
            with suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)


def each(count: int, flows: Sequence[str] = FLOWS) -> dict[str, int]:
    """So many processes of every flow."""
    return dict.fromkeys(flows, count)
