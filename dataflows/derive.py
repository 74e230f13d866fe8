"""Makes renditions and previews: `python -m bytewax.run dataflows.derive:flow`."""

from __future__ import annotations

from bytewax.dataflow import Dataflow

from dataflows.chunk_ends import hear_ends
from dataflows.intake import work
from dataflows.running import process
from dataflows.wiring import conclude, run_stage, send
from schemas import topics

runtime = process("derive")
flow = Dataflow("derive")

hear_ends(flow, runtime)
validated = work(flow, runtime, topics.VALIDATED)
derived = run_stage(runtime, "derive", validated.oks)
send(runtime, "derived", derived.oks, topics.DERIVED)
conclude(flow, runtime, validated, [derived])
