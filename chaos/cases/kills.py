"""Kill -9 of a random process of two independent processes per flow, again and again over one run."""

from __future__ import annotations

import time

from chaos.flows import each
from chaos.trial import Options, Report, Trial, run

KILLS = 100


def kills(options: Options) -> Report:
    """Kill -9 of a random one of two processes per flow, 100 times while the assets come to their ends."""
    return run(_act, options)


def _act(trial: Trial) -> None:
    plan, count = trial.load.mixed(trial.options.assets), trial.scaled(KILLS)
    trial.fleet.start(each(2))
    trial.load.start(plan)
    for number in range(count):
        trial.reach(number / count)
        time.sleep(trial.random.uniform(0, 2))
        killed = trial.fleet.kill(trial.random)
        if number % 10 == 9:
            trial.say(f"kill {number + 1}, of {killed.name}; {trial.unfinished()} unfinished")
