"""How tests wait for work in other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import AssetError


def failure(work: Awaitable[Any]) -> AssetError:
    """The error with which work ends."""

    async def wait() -> Any:
        return await work

    with pytest.raises(AssetError) as failed:
        asyncio.run(wait())
    return failed.value


async def pid_in(path: Path) -> int:
    """The process that wrote its pid there."""
    while not (path.exists() and path.read_text()):
        await asyncio.sleep(0.01)
    return int(path.read_text())
