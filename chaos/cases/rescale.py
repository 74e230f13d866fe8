"""Other numbers of processes under load: in good order, right after a kill -9, and with a recovery store lost."""

from __future__ import annotations

import shutil

from chaos.flows import each
from chaos.trial import Options, Report, Trial, run


def rescale(options: Options) -> Report:
    """1 to 3 to 2 processes a flow in good order; 1 to 3 to 2 right after a kill -9; then a recovery store is lost."""
    return run(_act, options)


def _act(trial: Trial) -> None:
    counts = [3, 2, 1, 3, 2]
    trial.fleet.start(each(1))
    trial.load.start(trial.load.mixed(trial.options.assets))
    for number, count in enumerate(counts, 1):
        trial.reach(number / (len(counts) + 2))
        if number == 3:
            _check_nothing_again(trial)
        if number > 3:
            trial.say(f"kill -9 of {trial.fleet.kill(trial.random).name}")
        trial.say(f"{count} processes; {trial.unfinished()} unfinished")
        trial.drain()
        trial.say(f"lag {trial.lag()}; {trial.unfinished()} unfinished")
        trial.fleet.start(each(count))
    trial.reach((len(counts) + 1) / (len(counts) + 2))
    lost = trial.fleet.kill(trial.random)
    shutil.rmtree(lost.store)
    trial.say(f"the recovery store of {lost.name} is lost")


def _check_nothing_again(trial: Trial) -> None:
    if again := trial.told.recomputed():
        trial.wrong("results", f"{again} were made again where all was drained")
