"""Finds out what an asset shows and says: `python -m bytewax.run dataflows.enrich:flow`."""

from __future__ import annotations

from bytewax.dataflow import Dataflow

from dataflows.intake import work
from dataflows.running import process
from dataflows.wiring import conclude, run_stage, send
from schemas import topics

runtime = process("enrich")
flow = Dataflow("enrich")

derived = work(flow, runtime, topics.DERIVED)
enriched = run_stage(runtime, "enrich", derived.oks)
send(runtime, "enriched", enriched.oks, topics.ENRICHED)
conclude(flow, runtime, derived, [enriched])
