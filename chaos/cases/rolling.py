"""SIGTERM during load, and a rolling restart to a newer version of one stage."""

from __future__ import annotations

import asyncio
from collections import Counter

from chaos.flows import each
from chaos.trial import Options, Report, Trial, run
from dataflows import topics
from dataflows.connections import objects_of
from dataflows.ownership import RESULTS, records
from schemas.asset import StepResult

NEWER = "chaos.newer"
VERSION = "newer"


def rolling(options: Options) -> Report:
    """SIGTERM to all under load, then derive anew, one process after the other; then every event is read again."""
    return run(_act, options)


def _act(trial: Trial) -> None:
    trial.fleet.start(each(2))
    trial.load.start(trial.load.mixed(trial.options.assets))
    trial.reach(0.2)
    trial.say("SIGTERM to all")
    trial.drain()
    trial.fleet.start(each(2))
    trial.reach(0.5)
    for process in trial.fleet.of(["derive"]):
        trial.say(f"{process.name} becomes newer")
        trial.renew(process, NEWER)
    trial.settle()
    again = trial.told.recomputed()
    if again:
        trial.wrong("results", f"{again} were made again where all was drained")
    _read_again(trial)


def _read_again(trial: Trial) -> None:
    """As one who wants the newer version's results for all: ingest begins at its first event once more."""
    before = Counter(trial.told.computed)
    trial.drain("ingest")
    topics.reset(trial.stack.settings, "ingest", "earliest")
    trial.say("every event is read again")
    trial.fleet.start({"ingest": 2})
    trial.settle()
    made = trial.told.computed - before
    results = asyncio.run(_results(trial))
    for result_id in made:
        result = results[result_id]
        if result.version != VERSION:
            trial.wrong("results", f"{result.stage}.{result.step} {result.version} was made again")
    trial.figures["results of the newer version"] = sum(r.version == VERSION for r in results.values())
    trial.figures["of them made when events were read again"] = len(made)


async def _results(trial: Trial) -> dict[str, StepResult]:
    store = objects_of(trial.stack.settings)
    found = [StepResult.model_validate_json(data) async for _key, data in records(store, RESULTS)]
    return {result.result_id: result for result in found}
