"""Search by words and by example: one query for each vector space, never one over two, then a ranking of assets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from operators.models import registry
from schemas.ports import Hit, VectorIndex
from schemas.routing import Route, Routing, Task

MOMENTS = 50
# what the words of an exact match add, at most, to the cosine of a moment
WORDS_WEIGHT = 0.3


class Ranked(Hit):
    """An asset's best moment; `score` is for ordering within one answer only."""


async def by_words(
    index: VectorIndex, routing: Routing, text: str, tenant: str, kinds: Sequence[str], limit: int
) -> list[Ranked]:
    """Assets whose words, pictures or speech are about the text, best first.

    Each space that is asked in words is searched by itself with its own encoder's vector; moments that hold the very
    words are searched by BM25. An asset ranks by its best moment's cosine, and by the words it has.
    """
    hits: list[Hit] = []
    for space, route in routing.spaces(tenant).items():
        if route.query == Task.TEXT_EMBEDDING:
            vector = _encoded(routing.encoder_of(space), text)
            hits += await index.search(space, vector, tenant=tenant, kinds=kinds, limit=MOMENTS)
    words = await index.words(text, tenant=tenant, kinds=kinds, limit=MOMENTS)
    return ranked(hits, words, limit)


def _encoded(route: Route, text: str) -> list[float]:
    vectors = registry.run(Task.TEXT_EMBEDDING, route, [text])
    return [float(x) for x in np.asarray(vectors)[0]]


def ranked(hits: Iterable[Hit], words: Sequence[Hit], limit: int) -> list[Ranked]:
    """The best moment of each asset, with what exact words add."""
    best: dict[str, Hit] = {}
    for hit in hits:
        if hit.asset_id not in best or hit.score > best[hit.asset_id].score:
            best[hit.asset_id] = hit
    top = max((hit.score for hit in words), default=0.0) or 1.0
    bonus: dict[str, float] = {}
    for hit in words:
        best.setdefault(hit.asset_id, hit.model_copy(update={"score": 0.0}))
        bonus[hit.asset_id] = max(bonus.get(hit.asset_id, 0.0), WORDS_WEIGHT * hit.score / top)
    scored = [
        Ranked(**{**hit.model_dump(), "score": round(hit.score + bonus.get(a, 0.0), 4)}) for a, hit in best.items()
    ]
    return sorted(scored, key=lambda hit: -hit.score)[:limit]


async def like(
    index: VectorIndex, routing: Routing, asset_id: str, tenant: str, kinds: Sequence[str], limit: int
) -> list[Ranked]:
    """Assets with moments like this one's, from the first space in which it has vectors: pictures, then words."""
    spaces = sorted(routing.spaces(tenant).items(), key=lambda item: item[1].task != Task.IMAGE_EMBEDDING)
    for space, _route in spaces:
        vectors = await index.vectors(space, asset_id, tenant)
        if vectors:
            hits = [
                hit
                for vector in vectors[:MOMENTS]
                for hit in await index.search(space, vector, tenant=tenant, kinds=kinds, limit=MOMENTS + limit)
                if hit.asset_id != asset_id
            ]
            return ranked(hits, [], limit)
    return []
