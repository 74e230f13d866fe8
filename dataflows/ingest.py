"""Takes submissions in, and tells whether they are what they say: `python -m bytewax.run dataflows.ingest:flow`."""

from __future__ import annotations

from bytewax.dataflow import Dataflow

from dataflows.intake import submissions
from dataflows.running import process
from dataflows.wiring import conclude, run_stage, send
from schemas import topics

runtime = process("ingest")
flow = Dataflow("ingest")

submitted = submissions(flow, runtime)
ingested = run_stage(runtime, "ingest", submitted.oks)
validated = run_stage(runtime, "validate", ingested.oks)
send(runtime, "validated", validated.oks, topics.VALIDATED)
conclude(flow, runtime, submitted, [ingested, validated])
