"""Renders the chunks of long videos for the flow derive: `python -m bytewax.run dataflows.chunks:flow`."""

from __future__ import annotations

from bytewax.dataflow import Dataflow

from dataflows.chunk_ends import answer
from dataflows.intake import chunks
from dataflows.running import process
from dataflows.wiring import keep_letters, run_stage, tell

runtime = process("chunks")
flow = Dataflow("chunks")

asked = chunks(flow, runtime)
answer(runtime, run_stage(runtime, "chunks", asked.oks))
tell(runtime, keep_letters(runtime, asked.errs))
