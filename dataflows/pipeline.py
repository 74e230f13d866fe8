"""All stages in one flow, from settings in the environment: `python -m bytewax.run dataflows.pipeline:flow`."""

from __future__ import annotations

import atexit
from contextlib import ExitStack

from dataflows.running import alone, quiet, started
from dataflows.submit import submit
from dataflows.wiring import build
from schemas.settings import Settings

settings = Settings()
held = ExitStack()
held.enter_context(alone(settings))
quiet()
submit(settings, settings.input)
runtime = started(settings)
atexit.register(runtime.close)
flow = build(runtime)
