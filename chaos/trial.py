"""One case from its servers to its audit: what a case is given, and how it ends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from chaos.audit import Case, Finding, Kind, findings
from chaos.flows import FLOWS, Fleet, Process, fleet
from chaos.kept import handed_again, kept
from chaos.load import COMPLETED, Load, Sent, sent_of
from chaos.stack import SERVERS, Route, Stack, stack
from chaos.told import Told
from chaos.waiting import eventually
from dataflows import topics
from dataflows.connections import objects_of
from dataflows.verifying import verify
from operators.stages.dead_letter import letters, replay_of

_LOOK_S = 0.5


@dataclass(frozen=True)
class Options:
    """`assets` to submit, `scale` of a case's own numbers (kills, seconds of a fault; 1 is the long form)."""

    folder: Path
    seed: int = 1
    assets: int = 300
    scale: float = 1.0
    served_index: bool = True
    keep: bool = False

    def scaled(self, number: float) -> int:
        """A number of the long form, as far as this run goes; 1 at least."""
        return max(1, round(number * self.scale))

    def below(self, name: str) -> Options:
        """The same for one of several runs."""
        return replace(self, folder=self.folder / name)


@dataclass
class Trial:
    """A case that runs: its flows, what is sent to them, what they tell; `figures` are its own numbers."""

    options: Options
    stack: Stack
    fleet: Fleet
    load: Load
    told: Told
    random: Random
    deleted: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)

    def scaled(self, number: float) -> int:
        """A number of the long form, as far as this run goes; 1 at least."""
        return self.options.scaled(number)

    def say(self, text: str) -> None:
        """A line for people."""
        print(f"    {time.strftime('%H:%M:%S')} {text}", flush=True)

    def wrong(self, subject: str, what: str) -> None:
        """Notes what should not be so."""
        self.findings.append(Finding(Kind.WRONG, subject, what))

    def unfinished(self) -> int:
        """How many of those that were submitted have not ended."""
        living = [found for found in self.load.submitted().values() if found.asset_id not in self.deleted]
        return sum(not self.told.endings.of(found) for found in living)

    def reach(self, share: float, seconds: float = 300.0) -> None:
        """Waits until this share of all that is to be sent has ended."""
        wanted = share * len(self.load.planned)
        if not eventually(lambda: len(self.load.submitted()) - self.unfinished() >= wanted, seconds, _LOOK_S):
            self.wrong("flows", f"{share:.0%} of the assets have not ended after another {seconds:.0f} s")

    def lag(self) -> dict[str, int]:
        """How many messages each flow has not finished."""
        return {flow: sum(row["lag"] for row in topics.offsets(self.stack.settings, flow)) for flow in FLOWS}

    def settle(self, seconds: float = 300.0) -> None:
        """Waits until all is sent and has ended, and then until every flow has said so to its group."""
        until = time.monotonic() + seconds
        for what, done in (
            ("unfinished", lambda: not self.load.sending and not self.unfinished()),
            ("behind", lambda: not any(self.lag().values())),
        ):
            if not self._comes(done, until):
                self.wrong("flows", f"after {seconds:.0f} s: {self.unfinished()} unfinished, lag {self.lag()} ({what})")
                return

    def _comes(self, done: Callable[[], bool], until: float) -> bool:
        return eventually(done, max(20.0, until - time.monotonic()), _LOOK_S)

    def drain(self, *flows: str) -> None:
        """SIGTERM to the processes of these flows, or of all: each is to end with code 0."""
        started = time.monotonic()
        for name, code in self.fleet.drain(flows or FLOWS).items():
            if code != 0:
                self.wrong(name, "did not end when it was to drain" if code is None else f"drained with code {code}")
        self.say(f"drained in {time.monotonic() - started:.1f} s")

    def renew(self, process: Process, module: str) -> None:
        """Drains a process, which is to end with code 0, and starts it with another version of its flow."""
        if (code := self.fleet.renew(process, module)) != 0:
            self.wrong(process.name, f"drained with code {code}")

    def replay(self) -> None:
        """Sends again what was good and ended in a dead letter all the same."""
        settings = self.stack.settings
        submitted = self.load.submitted().values()
        good = {found.asset_id for found in submitted if found.sent.end == COMPLETED}
        found = asyncio.run(letters(objects_of(settings), settings.tenant))
        events = [event for letter in found if letter.asset_id in good and (event := replay_of(letter))]
        self.load.send([sent_of(settings, event, COMPLETED) for event in events])
        self.figures["replayed"] += len(events)

    def burst(self, part: Sequence[Sent], seconds: float, rate: float = 10.0) -> None:
        """Begins to send a part of the load, once what was sent before has ended, and waits some seconds."""
        self.reach(1.0)
        self.load.start(part, rate)
        time.sleep(self.random.uniform(0.5, 1.0) * seconds)

    def meet(self, what: str, *faults: AbstractContextManager[object], seconds: float) -> None:
        """Lets faults last."""
        self.say(f"{what} for {seconds:.0f} s; {self.unfinished()} unfinished")
        with ExitStack() as stack:
            for fault in faults:
                stack.enter_context(fault)
            time.sleep(seconds)
        self.figures["faults"] += 1


Act = Callable[[Trial], None]


@contextmanager
def trial(options: Options, place: Stack) -> Iterator[Trial]:
    """A trial on a stack; its processes end with it."""
    told = Told(place.settings)
    told.start()
    with fleet(place) as processes:
        yield Trial(options, place, processes, Load(place, options.seed), told, Random(options.seed))


@dataclass(frozen=True)
class Report:
    """How a case ended."""

    submitted: int
    findings: list[Finding]
    figures: dict[str, int]

    def count(self, kind: Kind) -> int:
        """How many findings are of a kind."""
        return sum(finding.kind == kind for finding in self.findings)


def run(act: Act, options: Options, direct: Route = SERVERS, faulty: Route | None = None, **fields: Any) -> Report:
    """Runs a case to its end and audits it. Where a `faulty` route is given the flows go by it."""
    started = time.monotonic()
    made = stack(options.folder, direct, faulty or direct, options.keep, served_index=options.served_index, **fields)
    with made as place, trial(options, place) as case:
        act(case)
        case.settle()
        case.drain()
        for name, code in case.fleet.ended:
            case.say(f"{name} had ended by itself with code {code}")
        return _audited(case, {"seconds": round(time.monotonic() - started)})


def together(reports: Sequence[Report]) -> Report:
    """One report of several runs."""
    figures: Counter[str] = Counter()
    for report in reports:
        figures.update(report.figures)
    found = [finding for report in reports for finding in report.findings]
    return Report(sum(report.submitted for report in reports), found, figures)


def _audited(case: Trial, figures: dict[str, int]) -> Report:
    started = time.monotonic()
    if orphans := case.fleet.orphans():
        case.wrong("processes", f"{orphans} outlived their flows")
    for path in case.stack.flows.below("processes").glob("*/scratch/*"):
        if path.name != "models":
            case.wrong("scratch", f"{path} is left over")
    case.told.stop()
    left = asyncio.run(kept(case.stack.settings))
    submitted = case.load.submitted()
    found = [*case.findings, *findings(Case(submitted, case.told, left, case.deleted, case.gone)), *_verified(case)]
    figures |= {
        **case.fleet.figures, **case.figures,
        "died by themselves": len(case.fleet.ended),
        "works handed on again": handed_again(case.stack.settings),
        "rows and events told again": case.told.again(),
        "results made again": case.told.recomputed(),
        "objects that nothing names": len(left.objects.keys() - left.named()),
        "uploads left for the sweep": len(left.left),
    }  # fmt: skip
    figures["seconds of the audit"] = round(time.monotonic() - started)
    return Report(len(submitted), found, figures)


def _verified(case: Trial) -> Iterator[Finding]:
    """What `asset-pipeline verify` says."""
    for problem in asyncio.run(verify(case.stack.settings)).problems:
        yield Finding(Kind.WRONG, problem.subject, f"verify: {problem.code}: {problem.message}")
