"""The project's image, built without an engine."""

from __future__ import annotations

import os
from pathlib import Path

import dockerfile
import pytest
from demanded import DEMANDED
from local_images import ROOT, Builder, Image

from chaos.servers import STATE

_CACHE = Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache" / "uv"))


@pytest.fixture(scope="session")
def lite_image() -> Image:
    """The last stage of the Dockerfile. Left out where somebody else than root tests."""
    if os.geteuid() != 0 and not DEMANDED:
        pytest.skip("only root can build an image without a container engine")
    _CACHE.mkdir(parents=True, exist_ok=True)
    builder = Builder(dockerfile.read(ROOT / "Dockerfile"), STATE / "images", _CACHE)
    image = builder.build("lite")
    builder.tidy()
    return image
