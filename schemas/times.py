"""Times as people write them."""

from __future__ import annotations

from datetime import UTC, datetime


def time_of(text: str) -> datetime:
    """A time by ISO 8601, UTC unless it says otherwise. Raises ValueError for what is none."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
