"""Removes objects that nothing references: they go to the trash first, and from there after the longest deadline.

Nothing is lost, also beside running flows and beside other collections:

- An object whose bytes are younger than the longest deadline is left alone: who stored it may not have written the
  record that names it. A stage stores a file and writes the record in one attempt, which has a deadline.
- A stage that finds an object there does not store it again. If it looked just before the object went to the trash, its
  record comes within the deadline. Until that is over the bytes are in the trash, where every reader finds them
  (`ObjectStore.put_back`); a stage that looks later does not find the object, and stores it again.
- What has lain in the trash for longer is purged only if nothing references it by then, and each run begins with
  putting back what is referenced.
- Each move to the trash has a key of its own, and is a copy before the object is removed. So whichever process is
  killed wherever, or puts back what another one moves, some copy is there.

What an event names that the broker keeps no longer, and that no flow has accepted, is not known to be referenced.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

from dataflows.connections import objects_of
from dataflows.copying import parts_of
from dataflows.references import referenced
from dataflows.wiring import STAGES
from operators.attempts import now_ms
from schemas.ports import ObjectStore, Stored
from schemas.settings import Settings

COLLECTED = ["tenant", "fate", "objects", "bytes"]
AT_ONCE = 16


def longest_deadline_s(settings: Settings) -> float:
    """By when work that has begun has ended: all its attempts at the longest stage, and an outage, in seconds."""
    return max(timeout_s for _codec, timeout_s in STAGES.values()) * settings.attempts + settings.patience


async def collect(
    settings: Settings, apply: bool, older_s: float = 0.0, clock: Callable[[], int] = now_ms
) -> list[dict[str, Any]]:
    """Collects, or without `apply` says what would be done: by tenant and fate how many objects, and their bytes.

    Fates: `referenced` and `young` stay; `to trash`; `in trash`, not for long enough yet; `put back`; `purged`.
    `older_s` makes the deadline longer. Raises ValueError if it is shorter; store_unavailable; RuntimeError if Kafka
    does not answer.
    """
    least_s = longest_deadline_s(settings)
    if older_s and older_s < least_s:
        raise ValueError(f"not less than {least_s / 3600:g} hours: by then all work that has begun has ended")
    store, before_ms = objects_of(settings), clock() - int(max(older_s, least_s) * 1000)
    plan = await _planned(settings, store, before_ms)
    if apply:
        for fate, work in _WORK.items():
            for part in parts_of(plan.get(fate, ()), AT_ONCE):
                await asyncio.gather(*(work(store, each, clock()) for each in part))
    return _rows(plan)


async def _planned(settings: Settings, store: ObjectStore, before_ms: int) -> dict[str, list[Stored]]:
    """What is there by its fate. References are read after the listing: what was old then is named by now, or never."""
    stored, trashed = await store.stored(), await store.trashed()
    asked = {(each.tenant, each.sha256) for each in (*stored, *trashed)}
    named = await referenced(settings, store, asked)
    plan: dict[str, list[Stored]] = {}
    for places, fate_of in ((stored, _fate), (trashed, _fate_in_trash)):
        for each in places:
            fate = fate_of((each.tenant, each.sha256) in named, each.at_ms >= before_ms)
            plan.setdefault(fate, []).append(each)
    return plan


def _fate(is_named: bool, young: bool) -> str:
    return "referenced" if is_named else "young" if young else "to trash"


def _fate_in_trash(is_named: bool, young: bool) -> str:
    return "put back" if is_named else "in trash" if young else "purged"


async def _put_back(store: ObjectStore, trashed: Stored, _now_ms: int) -> None:
    if await store.put_back(trashed.tenant, trashed.sha256):
        await store.purge(trashed)


async def _discard(store: ObjectStore, stored: Stored, now: int) -> None:
    await store.discard(stored.tenant, stored.sha256, now)


async def _purge(store: ObjectStore, trashed: Stored, _now_ms: int) -> None:
    await store.purge(trashed)


# in the order in which it is done
_WORK = {"put back": _put_back, "to trash": _discard, "purged": _purge}


def _rows(plan: dict[str, list[Stored]]) -> list[dict[str, Any]]:
    objects, sizes = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for fate, found in plan.items():
        for each in found:
            objects[each.tenant, fate] += 1
            sizes[each.tenant, fate] += each.bytes
    return [
        {"tenant": tenant, "fate": fate, "objects": count, "bytes": sizes[tenant, fate]}
        for (tenant, fate), count in sorted(objects.items())
    ]
