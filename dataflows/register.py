"""Makes assets searchable and visible: `python -m bytewax.run dataflows.register:flow`."""

from __future__ import annotations

from bytewax.dataflow import Dataflow

from dataflows.intake import work
from dataflows.running import process
from dataflows.wiring import conclude, run_stage, send
from schemas import topics

runtime = process("register")
flow = Dataflow("register")

enriched = work(flow, runtime, topics.ENRICHED)
registered = run_stage(runtime, "register", enriched.oks)
send(runtime, "registered", registered.oks, topics.REGISTERED)
conclude(flow, runtime, enriched, [registered])
