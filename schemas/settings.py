"""Settings, read once at the start and passed down: environment variables `ASSET_PIPELINE_*`, then defaults."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.pipelines import Pipeline


class Settings(BaseSettings):
    """Where things lie, how much runs at once, and what is taken in. Relative paths are below the working folder."""

    model_config = SettingsConfigDict(env_prefix="ASSET_PIPELINE_", frozen=True, extra="forbid")

    out: Path = Path("out")
    input: tuple[str, ...] = ()
    tenant: str = "default"
    pipeline: str = "default"
    pipelines_file: Path | None = None
    follow: bool = False
    settle_s: float = Field(default=2.0, ge=0)
    unfinished: int = Field(default=32, ge=1)
    attempts: int = Field(default=3, ge=1)
    backoff_s: float = Field(default=0.5, ge=0)
    heavy_workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    light_workers: int = Field(default=2, ge=1)
    model_processes: int = Field(default=1, ge=1)
    task_memory_bytes: int = 3 * 2**30
    require_sandbox: bool = True
    url_allowed_networks: tuple[str, ...] = ()
    url_total_s: float = 3600.0

    def below(self, *parts: str) -> Path:
        """A path below `out`."""
        return self.out.absolute().joinpath(*parts)

    def pipelines(self) -> dict[str, Pipeline]:
        """The pipelines by name: those of the TOML file, and `default` where the file has none of that name.

        Raises ValueError with the file's name and the field that is wrong.
        """
        tables = _read(self.pipelines_file) if self.pipelines_file else {}
        found = {"default": Pipeline()}
        for name, table in tables.items():
            try:
                found[name] = Pipeline(**{**table, "name": name})
            except ValidationError as error:
                raise ValueError(f"{self.pipelines_file}: pipeline {name!r}: {error}") from error
        return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
