"""Sums the use of assets by windows of event time: `python -m bytewax.run dataflows.usage:flow -s 1`.

Its state is keyed by tenants, so several processes of it form a Bytewax cluster, with the same numbers for the engine
and in the settings; process p reads the partitions whose number modulo the processes is p:

    ASSET_PIPELINE_PROCESS=0 ASSET_PIPELINE_PROCESSES=2 \\
        python -m bytewax.run dataflows.usage:flow -s 1 -i 0 -a 'host-0:2101;host-1:2101'
    ASSET_PIPELINE_PROCESS=1 ASSET_PIPELINE_PROCESSES=2 \\
        python -m bytewax.run dataflows.usage:flow -s 1 -i 1 -a 'host-0:2101;host-1:2101'

Where one ends all end, and all are started again, in whatever number; SIGTERM, to all of them, drains, with exit code
0. It needs Kafka: the embedded pipeline has no topic of use. There is no recovery store: an epoch (`-s`) ends
only once its events are in their table, on all processes; then the source goes on, and offsets of epochs that have
ended are committed to the consumer group. Windows that were open are found in the tables at the start.
"""

from __future__ import annotations

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from dataflows.event_time import due_windows
from dataflows.intake import uses
from dataflows.running import process
from dataflows.using import keep_letters, usage_sink
from dataflows.wiring import tell

runtime = process("usage")
flow = Dataflow("usage")

used = uses(flow, runtime)
due = due_windows("due", used.oks, runtime.settings)
op.output("usage", op.merge("rows_and_due", used.oks, due), usage_sink(runtime))
tell(runtime, op.flat_map_batch("letters", used.errs, lambda endings: keep_letters(runtime, endings)))
