"""Hands assets to channels: `python -m bytewax.run dataflows.publish:flow`."""

from __future__ import annotations

from bytewax.dataflow import Dataflow

from dataflows.intake import work
from dataflows.running import process
from dataflows.wiring import conclude, run_stage
from schemas import topics

runtime = process("publish")
flow = Dataflow("publish")

registered = work(flow, runtime, topics.REGISTERED)
published = run_stage(runtime, "publish", registered.oks)
conclude(flow, runtime, registered, [published])
