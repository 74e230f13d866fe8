"""What the vector indexes have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from schemas.ports import Hit, IndexEntry

Row = TypeVar("Row", bound=Mapping[str, Any])


def common_dimension(space: str, entries: Sequence[IndexEntry]) -> int:
    """The length of the entries' vectors. ValueError if they are empty or differ."""
    dimension = len(entries[0].vector)
    if not dimension or any(len(entry.vector) != dimension for entry in entries):
        raise ValueError(f"vectors of different length for {space}")
    return dimension


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Rows with `id`, `start_s` and `page`, by time or page."""
    return sorted(rows, key=lambda row: (row["start_s"] or 0.0, row["page"] or 0, row["id"]))


def once_a_moment(hits: Iterable[Hit]) -> list[Hit]:
    """The first of each moment's hits: one that lies in several spaces has the same words in each."""
    best: dict[tuple[str, str], Hit] = {}
    for hit in hits:
        best.setdefault((hit.asset_id, hit.moment), hit)
    return list(best.values())
