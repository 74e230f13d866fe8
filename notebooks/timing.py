"""What the tables say of time, as frames that more than one notebook reads. Durations in seconds, times in ms."""

from __future__ import annotations

import polars as pl

from dataflows.library import Library
from schemas.asset import StepResult

UNITS = {"video": "megapixels x seconds", "audio": "seconds", "image": "megapixels", "document": "pages"}
CHUNKS = "chunks"


def sized(assets: pl.DataFrame) -> pl.DataFrame:
    """Assets with their `size`, in the unit of `UNITS` that their kind's work grows with; null where it is unknown."""
    megapixels = pl.col("width") * pl.col("height") / 1e6
    by_kind = {
        "video": megapixels * pl.col("duration_s"), "audio": pl.col("duration_s"), "image": megapixels,
        "document": pl.col("pages").cast(pl.Float64),
    }  # fmt: skip
    size = pl.coalesce(pl.when(pl.col("kind") == kind).then(value) for kind, value in by_kind.items())
    return assets.with_columns(size=size)


def spans(status: pl.DataFrame) -> pl.DataFrame:
    """Each job that was accepted, from its first event to its last: `start`, `end`, `seconds`, and how many `others`
    overlapped it. What a replay does later is a job of its own here.
    """
    jobs = status.group_by("asset_id", "job_id", "generation").agg(
        start=pl.col("at_ms").min(), end=pl.col("at_ms").max(), accepted=(pl.col("stage") != "ingest").any()
    ).filter("accepted")  # fmt: skip
    pairs = jobs.join(jobs, how="cross", suffix="_other")
    met = pairs.filter(
        pl.col("asset_id") != pl.col("asset_id_other"), pl.col("start") < pl.col("end_other"),
        pl.col("start_other") < pl.col("end"),
    ).group_by("job_id", "generation").agg(others=pl.len())  # fmt: skip
    seconds = (pl.col("end") - pl.col("start")) / 1000
    joined = jobs.join(met, on=["job_id", "generation"], how="left")
    return joined.with_columns(pl.col("others").fill_null(0), seconds=seconds).sort("start")


def passes(library: Library, status: pl.DataFrame) -> pl.DataFrame:
    """What was computed, each pass once: asset_id, stage, `work`, `steps`, `seconds`, and `end` (null for chunks).

    Steps that share one decode end together and name the same duration, which would otherwise count for each of them.
    Durations are wall time from when the work was handed over, so waiting for a free worker is in them.
    """
    done = status.filter(pl.col("step") != "", pl.col("state") == "completed", ~pl.col("cached"))
    together = done.group_by("asset_id", "job_id", "at_ms", "duration_s", maintain_order=True).agg(
        pl.col("stage").first(), pl.col("step").sort().str.join(" + ").alias("work"), pl.len().alias("steps")
    )  # fmt: skip
    known = together.select("asset_id", "stage", "work", "steps", seconds="duration_s", end="at_ms")
    return pl.concat([known, _chunks(library, known.schema)])


def _chunks(library: Library, schema: pl.Schema) -> pl.DataFrame:
    """The pieces of videos, which share a decode each; of equal originals the first asset made them."""
    owner = {row["sha256"]: row["asset_id"] for row in library.assets().reverse().iter_rows(named=True)}
    made: dict[tuple[str, str], list[StepResult]] = {}
    for result in library.results():
        if result.step.startswith("chunk-") and result.inputs[0] in owner:
            key = owner[result.inputs[0]], f"{result.params['range']} {result.duration_s}"
            made.setdefault(key, []).append(result)
    rows = [
        {"asset_id": asset, "stage": "derive", "work": CHUNKS, "steps": len(found), "seconds": found[0].duration_s,
         "end": None}
        for (asset, _range), found in sorted(made.items())
    ]  # fmt: skip
    return pl.DataFrame(rows, schema)
