"""All stages in one flow, from settings in the environment: `python -m bytewax.run dataflows.pipeline:flow`."""

from __future__ import annotations

from dataflows.running import process
from dataflows.submit import submit
from dataflows.whole import whole

runtime = process("pipeline")
if not runtime.settings.events:
    submit(runtime.settings, runtime.settings.input)
flow = whole(runtime)
