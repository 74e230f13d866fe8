"""What the commands do that start the flow: run, follow and replay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dataflows import queries, resending, summary
from dataflows.connections import objects_of
from dataflows.output import Output
from dataflows.progress import Progress
from dataflows.report import write_report
from dataflows.running import alone, run_flow, watching
from dataflows.submit import append, is_url, left_out, submit
from dataflows.submitting import send
from operators.stages.dead_letter import letters, replay_of
from schemas.errors import State
from schemas.events import DeadLetter, IngestEvent, StatusChanged
from schemas.fold import ENDED
from schemas.settings import Settings


def run(settings: Settings, targets: Sequence[str], output: Output) -> bool:
    """Submits the targets and runs until all is done, or with `follow` until a signal; whether all completed.

    A run that a signal ended is well if nothing failed: the next one goes on with what is left. Raises Busy,
    ValueError, FileNotFoundError.
    """
    with alone(settings.below()):
        for path in left_out(targets):
            output.notes.print(f"left out {path}: no media by its name", style="dim", highlight=False)
        watched = [t for t in targets if settings.follow and not is_url(t) and Path(t).is_dir()]
        now = [t for t in targets if t not in watched]
        return _run(settings, submit(settings, now), output, [Path(t) for t in watched])


@dataclass(frozen=True)
class Wanted:
    """Which dead letters: of these assets or of all, with this code or any, kept at `since_ms` or later."""

    assets: Sequence[str] = ()
    code: str = ""
    since_ms: int = 0

    def __call__(self, letter: DeadLetter) -> bool:
        """Whether the letter is one of them."""
        mine = not self.assets or letter.asset_id in self.assets
        return mine and self.code in ("", letter.code) and letter.at_ms >= self.since_ms


def replay(settings: Settings, wanted: Wanted, output: Output) -> bool:
    """Sends dead letters through again: of each asset the last one, of those asked for all, else what is unresolved.

    With Kafka that is all, and messages that a flow could not read are sent to it again, too; else it runs until they
    have ended. Raises Busy, RuntimeError if Kafka does not answer.
    """
    if settings.events:
        events, messages = _replays(settings, wanted), asyncio.run(resending.replay(settings, wanted))
        send(settings, events)
        output.notes.print(f"sent through again: {len(events)} assets, {messages} messages")
        return True
    with alone(settings.below()):
        events = _replays(settings, wanted)
        if not events:
            output.notes.print("no dead letters to replay")
        append(settings, events)
        return _run(settings, events, output, []) if events else True


def _replays(settings: Settings, wanted: Wanted) -> list[IngestEvent]:
    found = asyncio.run(letters(objects_of(settings), settings.tenant))
    last = {letter.asset_id: letter for letter in sorted(found, key=lambda x: x.generation)}
    asked = [letter for letter in last.values() if wanted(letter)]
    again = asked if wanted.assets else _unresolved(settings, asked)
    return [event for letter in again if (event := replay_of(letter))]


def _unresolved(settings: Settings, last: Iterable[DeadLetter]) -> list[DeadLetter]:
    now = queries.states(settings)
    return [letter for letter in last if letter.asset_id in now and now[letter.asset_id].code == letter.code]


def _run(settings: Settings, events: Sequence[IngestEvent], output: Output, watched: list[Path]) -> bool:
    names = {event.data.asset_id: event.data.source.name for event in events}
    told: dict[tuple[str, str, str], StatusChanged] = {}
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(output.notes, names))

        def on_event(event: StatusChanged) -> None:
            told[event.asset_id, event.stage, event.step] = event
            progress(event)

        if watched:
            stack.enter_context(
                watching(settings, watched, lambda e: names.update({e.data.asset_id: e.data.source.name}))
            )
        drained = run_flow(settings, on_event)
    return asyncio.run(_close(settings, names, told, output, drained))


async def _close(settings: Settings, names: dict[str, str], told: summary.Told, output: Output, drained: bool) -> bool:
    """The table, and the report."""
    for asset_id, _stage, _step in told:
        names.setdefault(asset_id, asset_id)
    store = objects_of(settings)
    endings, manifests = await summary.endings_of(settings, store, names, told)
    rows = [summary.as_row(e, manifests.get(e.asset_id)) for e in endings]
    output.rows(rows, ["asset", "kind", "state", "code", "variants", "bytes"], below="took")
    report = await write_report(list(manifests.values()), endings, store, settings.below("report.html"))
    output.notes.print(f"report: {report}", soft_wrap=True, highlight=False)
    if drained and (left := sum(ending.state not in ENDED for ending in endings)):
        output.notes.print(f"interrupted with {left} unfinished; the next run goes on with them", highlight=False)
    return all(e.state == State.COMPLETED or (drained and e.state not in ENDED) for e in endings)
