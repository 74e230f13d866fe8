"""The same event ten times, from two producers at once, with the same idempotency key and with another."""

from __future__ import annotations

from chaos.flows import each
from chaos.load import other, under_key
from chaos.trial import Options, Report, Trial, run

TIMES, PRODUCERS = 10, 2


def doubles(options: Options) -> Report:
    """Each event ten times from two producers at once; ten others for the same key; and all of it under another key."""
    return run(_act, options)


def _act(trial: Trial) -> None:
    trial.fleet.start(each(2))
    assets = trial.load.assets(max(1, trial.options.assets // (2 * (TIMES + 1))), bad=0)
    keys = [sent for asset in assets for sent in (asset, under_key(trial.random, asset))]
    others = {sent.id: [other(trial.random, sent) for _ in range(TIMES)] for sent in keys}
    for producer in range(PRODUCERS):
        mine = [each for sent in keys for each in [sent] * (TIMES // PRODUCERS) + others[sent.id][producer::PRODUCERS]]
        trial.random.shuffle(mine)
        trial.load.start(mine, rate=0)
    trial.figures["messages"] = len(keys) * 2 * TIMES
