"""Assets deleted during load, then every event read again: nothing of them comes back."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from chaos.flows import each
from chaos.load import Sent
from chaos.trial import Options, Report, Trial, run
from dataflows import topics
from dataflows.connections import objects_of
from dataflows.deleting import delete, digests_of
from operators.stages.register import current_manifest

REFUSED = ("rejected", "deleted")
SHARE = 5
AT_ONCE = 3


def deletion(options: Options) -> Report:
    """Every fifth asset is deleted: just sent, under way or published; then ingest begins at its first event again."""
    return run(_act, options)


def _act(trial: Trial) -> None:
    plan = trial.load.assets(trial.options.assets)
    trial.fleet.start(each(1))
    trial.load.start(plan)
    trial.reach(0.1)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for done in threads.map(lambda sent: _delete(trial, sent), plan[::SHARE]):
            trial.figures["deleted"] += done
    trial.settle()
    trial.say("every event is read again")
    trial.drain("ingest")
    topics.reset(trial.stack.settings, "ingest", "earliest")
    trial.fleet.start({"ingest": 1})
    trial.settle()
    for found in trial.load.submitted().values():
        if found.asset_id in trial.deleted and REFUSED not in {end[:2] for end in trial.told.endings.of(found)}:
            trial.wrong(found.asset_id, "was deleted, and is not refused when its event is read again")


def _delete(trial: Trial, sent: Sent) -> int:
    """Deletes an asset as soon as its event is there, or a while later."""
    assert sent.event is not None
    asset = sent.event.data.asset_id
    while sent.event.id not in trial.load.submitted():
        time.sleep(0.2)
    time.sleep(trial.random.choice((0, 1, 3, 10)))
    trial.deleted.add(asset)
    trial.gone |= asyncio.run(_digests(trial, sent))
    asyncio.run(delete(trial.stack.settings, asset))
    return 1


async def _digests(trial: Trial, sent: Sent) -> set[str]:
    """The objects that an asset has just now."""
    assert sent.event is not None
    settings, request = trial.stack.settings, sent.event.data
    manifest = await current_manifest(objects_of(settings), settings.tenant, request.asset_id)
    return {request.source.sha256} | (digests_of(manifest) if manifest else set())
