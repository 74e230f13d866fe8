"""All stages in one flow."""

from __future__ import annotations

from bytewax.dataflow import Dataflow

from dataflows.intake import submissions
from dataflows.runtime import Runtime
from dataflows.wiring import conclude, run_stage


def whole(runtime: Runtime) -> Dataflow:
    """From the submissions to the tables."""
    flow = Dataflow("asset_pipeline")
    submitted = submissions(flow, runtime)
    ingested = run_stage(runtime, "ingest", submitted.oks)
    validated = run_stage(runtime, "validate", ingested.oks)
    derived = run_stage(runtime, "derive", validated.oks)
    enriched = run_stage(runtime, "enrich", derived.oks)
    registered = run_stage(runtime, "register", enriched.oks)
    published = run_stage(runtime, "publish", registered.oks)
    conclude(flow, runtime, submitted, [ingested, validated, derived, enriched, registered, published])
    return flow
