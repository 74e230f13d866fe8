"""What a run has made, for analysts: tables as polars frames, objects' bytes, search and vectors, by one line.

    library = Library()                    # what the settings in the environment name, or the folder `out`
    library = Library("path/to/out")       # a folder
    library = Library("s3://tables/prefix")  # tables on S3; the rest as the environment says

Only reads, and only one tenant's. For notebooks: every method waits for its answer, also where an event loop runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import numpy as np
import polars as pl

from dataflows import lineage, ownership, queries, search, tables
from dataflows.connections import objects_of, opened_index
from dataflows.lineage_graph import Graph
from operators.stages.register import current_manifest
from schemas.asset import StepResult
from schemas.events import StatusChanged
from schemas.manifest import Manifest
from schemas.ports import Filter
from schemas.routing import PROFILES, Task
from schemas.settings import Settings

T = TypeVar("T")
# what shows an asset best, first to last; an image without a poster is its own narrowest rendition
PICTURES = ("poster", "rendition", "page")


def waited(work: Coroutine[Any, Any, T]) -> T:
    """What the work returns, from a thread with a loop of its own: a notebook's own loop is busy with its cell."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def settings_at(where: str | Path = "", **given: Any) -> Settings:
    """Settings from the environment, with the tables of a folder or of an s3:// URL where one is named.

    A folder that is named alone, or by nothing, is looked for below the working folder and those above it.
    """
    if str(where).startswith("s3://"):
        return Settings(**{"tables": str(where), **given})
    settings = Settings(**{**({"out": where} if where else {}), **given})
    here = Path.cwd()
    found = (folder / settings.out for folder in (here, *here.parents) if (folder / settings.out).is_dir())
    return settings.model_copy(update={"out": next(found, here / settings.out)})


class Library:
    """The tables, objects and index of these settings. Raises FileNotFoundError where no table is."""

    def __init__(self, where: str | Path = "", **given: Any) -> None:
        self.settings = settings_at(where, **given)
        self.store = objects_of(self.settings)
        if tables.opened(self.settings, "assets") is None:
            place = self.settings.tables or self.settings.out
            raise FileNotFoundError(f"no tables at {place}: `make demo` makes some, ASSET_PIPELINE_OUT names others")

    def table(self, name: str, as_of: datetime | None = None) -> pl.LazyFrame:
        """A table's rows, newest or as it was; columns as in `schemas.tables`."""
        return tables.scan(self.settings, name, as_of).filter(pl.col("tenant") == self.settings.tenant)

    def assets(self, as_of: datetime | None = None) -> pl.DataFrame:
        """The newest row of each asset, with its file's `name`, in the order of their acceptance."""
        found = self.table("assets", as_of).collect()
        ranked = found.with_columns(pl.col("state") != "rejected").sort(queries.RANK, maintain_order=True)
        last = ranked.unique("asset_id", keep="last")["row_id"].to_list()
        name = pl.col("source").str.split("/").list.last().map_elements(unquote, pl.String)
        return found.filter(pl.col("row_id").is_in(last)).with_columns(name=name).sort("accepted_ms", "name")

    def status(self) -> pl.DataFrame:
        """Every status change, by the fields of `StatusChanged`."""
        found = queries.events(self.settings)
        mine = [event.model_dump(mode="json") for event in found if event.tenant == self.settings.tenant]
        kinds = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}
        fields = StatusChanged.model_fields.items()
        schema = {name: kinds.get(field.annotation, pl.String) for name, field in fields}  # type: ignore[arg-type]
        return pl.DataFrame(mine, schema).sort("at_ms")

    def results(self) -> list[StepResult]:
        """Every recorded result, with those of a video's chunks, which no table has: one read each."""
        return waited(ownership.results_of(self.store, self.settings.tenant))

    def named(self, name: str) -> str:
        """The id of the asset with this id, beginning of an id, or file name. Raises KeyError for none or several."""
        found = queries.named(self.settings, name)
        if len(found) != 1:
            raise KeyError(f"{len(found)} assets are called {name!r}")
        return found[0]

    def manifest(self, name: str) -> Manifest:
        """An asset's current manifest. Raises KeyError for an asset that is not there, or not visible."""
        found = waited(current_manifest(self.store, self.settings.tenant, self.named(name)))
        if found is None:
            raise KeyError(f"{name!r} has no manifest: it did not complete")
        return found

    def read(self, sha256: str) -> bytes:
        """An object's bytes. Raises object_missing."""
        return waited(self.store.read(self.settings.tenant, sha256))

    def pictures(self) -> dict[str, str]:
        """The digest of the picture that shows an asset best, small before large, by asset; none for a sound."""
        shown = self.table("variants").filter(pl.col("role").is_in(PICTURES)).collect()
        order = pl.col("role").replace_strict({role: n for n, role in enumerate(PICTURES)})
        best = shown.sort(order, "bytes").unique("asset_id", keep="first", maintain_order=True)
        return dict(best.select("asset_id", "sha256").iter_rows())

    def search(self, text: str, limit: int = 10, **only: Any) -> pl.DataFrame:
        """Assets about the text, best first, each by its best moment; `only` are the fields of a `Filter`."""
        return _frame(waited(search.find(self.settings, text, Filter(**only), limit)))

    def similar(self, name: str, limit: int = 10, **only: Any) -> pl.DataFrame:
        """Assets with moments like this one's."""
        return _frame(waited(search.find_similar(self.settings, self.named(name), Filter(**only), limit)))

    def vectors(self, task: Task) -> tuple[list[str], np.ndarray]:
        """All vectors that a task made, float32 (n, dimension) of unit length, with the asset of each."""
        space = next(s for s, route in PROFILES["lite"].spaces(self.settings.tenant).items() if route.task == task)
        return waited(self._vectors(space))

    async def _vectors(self, space: str) -> tuple[list[str], np.ndarray]:
        async with opened_index(self.settings) as index:
            assets = self.assets()["asset_id"].to_list()
            found = [(a, v) for a in assets for v in await index.vectors(space, a, self.settings.tenant)]
        return [asset for asset, _ in found], np.array([vector for _, vector in found], np.float32)

    def lineage(self, name: str, as_of: datetime | None = None, descendants: bool = False) -> Graph:
        """How an asset's files came to be."""
        work = lineage.graph_of(self.settings, self.store, self.named(name), descendants, as_of)
        return waited(work)

    def history(self, name: str) -> pl.DataFrame:
        """A table's versions that can still be read, oldest first: `version`, the time `at` which it was written."""
        table = tables.opened(self.settings, name)
        written = table.history() if table else []
        rows = [(entry["version"], entry["timestamp"]) for entry in reversed(written)]
        frame = pl.DataFrame(rows, {"version": pl.Int64, "at": pl.Int64}, orient="row")
        return frame.with_columns(pl.from_epoch("at", "ms").dt.replace_time_zone("UTC"))

    def moment(self, when: str) -> datetime:
        """A time (ISO 8601), or that of a version of the table `lineage`."""
        return tables.moment(self.settings, when)


def _frame(hits: list[search.Ranked]) -> pl.DataFrame:
    rows = [{**hit.model_dump(mode="json"), "tags": list(hit.tags)} for hit in hits]
    empty = dict.fromkeys(search.Ranked.model_fields, pl.String)
    return pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame(schema=empty)
