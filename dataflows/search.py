"""Search by words and by example: one query for each vector space, never one over two, then a ranking of assets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

import numpy as np

from dataflows.connections import opened_index
from operators.models import registry
from schemas.ports import Filter, Hit, VectorIndex
from schemas.routing import PROFILES, Route, Routing, Task
from schemas.settings import Settings
from sinks.words import terms

MOMENTS = 50
# what it adds to the cosine of a moment that it holds every word of the query
WORDS_WEIGHT = 0.3


class Ranked(Hit):
    """An asset's best moment; `score` is for ordering within one answer only."""


async def find(settings: Settings, text: str, only: Filter, limit: int) -> list[Ranked]:
    """`by_words` in the index of these settings."""
    async with opened_index(settings) as index:
        return await by_words(index, PROFILES["lite"], text, settings.tenant, only, limit)


async def find_similar(settings: Settings, asset_id: str, only: Filter, limit: int) -> list[Ranked]:
    """`like` in the index of these settings."""
    async with opened_index(settings) as index:
        return await like(index, PROFILES["lite"], asset_id, settings.tenant, only, limit)


async def by_words(
    index: VectorIndex, routing: Routing, text: str, tenant: str, only: Filter, limit: int
) -> list[Ranked]:
    """Assets whose words, pictures or speech are about the text, best first.

    Each space that is asked in words is searched by itself with its own encoder's vector; moments that hold the very
    words are searched by BM25. An asset ranks by its best moment's cosine, and by the words it has.
    """
    hits: list[Hit] = []
    for space, route in routing.spaces(tenant).items():
        if route.query == Task.TEXT_EMBEDDING:
            vector = _encoded(routing.encoder_of(space), text)
            hits += await index.search(space, vector, tenant=tenant, only=only, limit=MOMENTS)
    words = await index.words(text, tenant=tenant, only=only, limit=MOMENTS)
    return ranked(hits, words, terms(text), limit)


def _encoded(route: Route, text: str) -> list[float]:
    vectors = registry.run(Task.TEXT_EMBEDDING, route, [text])
    return [float(x) for x in np.asarray(vectors)[0]]


def ranked(near: Iterable[Hit], found: Iterable[Hit], wanted: Collection[str], limit: int) -> list[Ranked]:
    """The best moment of each asset, with what the wanted terms add that one of its moments holds.

    They count by their share, which, unlike a BM25 score, does not depend on whatever else an index holds.
    """
    best: dict[str, Hit] = {}
    share: defaultdict[str, float] = defaultdict(float)
    for hit in (*near, *(hit.model_copy(update={"score": 0.0}) for hit in found)):
        if hit.asset_id not in best or hit.score > best[hit.asset_id].score:
            best[hit.asset_id] = hit
        share[hit.asset_id] = max(share[hit.asset_id], _share(hit, frozenset(wanted)))
    scored = []
    for asset, hit in best.items():
        score = round(hit.score + WORDS_WEIGHT * share[asset], 4)
        scored.append(Ranked(**{**hit.model_dump(), "score": score}))
    return sorted(scored, key=lambda hit: (-hit.score, hit.asset_id))[:limit]


def _share(hit: Hit, wanted: frozenset[str]) -> float:
    return len(wanted.intersection(terms(hit.words))) / len(wanted) if wanted else 0.0


async def like(
    index: VectorIndex, routing: Routing, asset_id: str, tenant: str, only: Filter, limit: int
) -> list[Ranked]:
    """Assets with moments like this one's, from the first space in which it has vectors: pictures, then words."""
    spaces = sorted(routing.spaces(tenant).items(), key=lambda item: item[1].task != Task.IMAGE_EMBEDDING)
    for space, _route in spaces:
        vectors = await index.vectors(space, asset_id, tenant)
        if vectors:
            hits = [
                hit
                for vector in vectors[:MOMENTS]
                for hit in await index.search(space, vector, tenant=tenant, only=only, limit=MOMENTS + limit)
                if hit.asset_id != asset_id
            ]
            return ranked(hits, (), (), limit)
    return []
