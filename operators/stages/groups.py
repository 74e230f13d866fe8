"""Work beside work: the first error cancels the rest, and is raised as itself."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def beside(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results in order. Unlike gather, an error ends the others; unlike a task group, it is not wrapped."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
