"""Every metric that a process has, each declared once: `python -m dataflows.catalogue` writes METRICS.md from here.

Names and labels are stable, and labels are bounded: never an asset's id, and a tenant only where settings ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import GaugeMetricFamily

PREFIX: Final = "asset_pipeline_"
# the engine's own end at 10 s, and a long video takes hours
_LONG: Final = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 7200, 14400)
_SHORT: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)

disable_created_metrics()
DECLARED: Final[list[MetricWrapperBase]] = []


def _counter(name: str, says: str, *labels: str) -> Counter:
    DECLARED.append(made := Counter(f"{PREFIX}{name}", says, labels))
    return made


def _histogram(name: str, says: str, *labels: str, buckets: tuple[float, ...] = _LONG) -> Histogram:
    DECLARED.append(made := Histogram(f"{PREFIX}{name}", says, labels, buckets=buckets))
    return made


def _gauge(name: str, says: str, *labels: str) -> Gauge:
    DECLARED.append(made := Gauge(f"{PREFIX}{name}", says, labels))
    return made


# assets and stages
ENDED = _counter(
    "assets_ended",
    "Submissions that came to an end, by state and by the code that says why.",
    "state",
    "code",
    "tenant",
)
END_TO_END = _histogram("asset_duration_seconds", "From a submission's acceptance to its asset's publication.")
STAGE_ENDS = _counter("stage_ends", "Ends of a stage's work on an asset.", "stage", "state", "code")
STAGE_SECONDS = _histogram("stage_duration_seconds", "How long a stage's last attempt on an asset took.", "stage")
STAGE_RETRIES = _counter("stage_retries", "Attempts that failed and are made again.", "stage", "code")
STEP_SECONDS = _histogram("step_duration_seconds", "How long it took to compute a step's result.", "stage", "step")
RESULTS = _counter("results", "Results of steps: computed, or found by their ids.", "stage", "step", "how")
DEAD_LETTERS = _counter("dead_letters", "Inputs that became a dead letter.", "stage", "code")
FIRST_PLAYABLE = _histogram("first_playable_seconds", "From a submission's acceptance to its first preview.", "step")

# work
TASKS = _counter("tasks", "Tasks of the pools by what became of them: ok, or the code of why not.", "lane", "code")
MODEL_SECONDS = _histogram(
    "model_seconds", "How long a call of a model took, its wait for a process included.", "model", buckets=_SHORT
)
MODEL_ITEMS = _histogram(
    "model_items", "How many pictures, pages or texts a call of a model was about.", "model", buckets=_SIZES
)
BYTES = _counter("bytes", "Bytes of originals taken in, and of made files put into the store.", "way")
MEDIA_SECONDS = _counter("media_seconds", "Seconds of video and sound that were derived.", "kind")

# sources and sinks
EPOCH_SECONDS = _histogram(
    "epoch_close_seconds", "How long the flow stood still while an epoch was closed.", buckets=_SHORT
)
TABLE_FILES = _gauge("table_small_files", "Files of a table that wait to be joined.", "table")
INDEX_TENANTS = _gauge("index_active_tenants", "Tenants of the index's collections that this process keeps active.")
SINK_RETRIES = _counter("sink_retries", "Writes of a sink that failed and are made again.", "sink")

# use
USAGE_EVENTS = _counter("usage_events", "Events of use that were read, repeated ones too.", "action", "tenant")
USAGE_LATE = _counter("usage_late_events", "Events of use that came after their window was closed.")
USAGE_WINDOWS = _counter("usage_windows", "Windows computed: once closed, for late events, or at a start.", "why")
USAGE_SECONDS = _histogram("usage_compute_seconds", "How long it took to compute windows that were due together.")
USAGE_QUANTITY = _counter("usage_quantity", "Use in computed windows, each event once.", "action", "tenant")
USAGE_CREDIT = _counter("usage_credit", "Credit of use to ancestors in computed windows.", "action", "tenant")


class Reading(NamedTuple):
    """A gauge that is read when somebody asks: its name without the prefix, what it says, and its labels."""

    name: str
    says: str
    labels: tuple[str, ...] = ()

    def family(self, values: dict[tuple[str, ...], float]) -> GaugeMetricFamily:
        """Its values by their labels'."""
        made = GaugeMetricFamily(f"{PREFIX}{self.name}", self.says, labels=self.labels)
        for labels, value in values.items():
            made.add_metric(labels, value)
        return made


UNFINISHED = Reading("unfinished_assets", "Assets in some stage of this process.")
OLDEST = Reading("oldest_unfinished_seconds", "How long ago the oldest of them came into a stage.")
AT_WORK = Reading("stage_at_work", "Assets that a stage works on.", ("stage",))
STUCK = Reading("stage_stuck", "1 where a stage is past its deadline, or the loop of all stages stands.", ("stage",))
TURNED = Reading("loop_turned_seconds", "How long ago the flow's run loop last turned.")
LANE_BUSY = Reading("lane_busy", "Processes at work.", ("lane",))
LANE_SIZE = Reading("lane_size", "Processes that may be at work at once.", ("lane",))
LANE_WAITING = Reading("lane_waiting", "Tasks that wait for a process.", ("lane",))
LANE_OLDEST = Reading("lane_oldest_seconds", "How long the oldest of them has waited.", ("lane",))
SOURCE_LAG = Reading("source_lag_messages", "Messages that the flow has not finished.", ("topic", "partition"))
SOURCE_CONNECTED = Reading("source_connected", "1 if the partition's leader answers.", ("topic", "partition"))
ADVISED = Reading(
    "advised_processes", "Processes that the flow needs to finish what it has in time, as this one sees it."
)
TABLE_ROWS = Reading("table_waiting_rows", "Rows that are not in their table yet.", ("table",))
STORE_BYTES = Reading("recovery_store_bytes", "The size of the recovery store.")
READY = Reading("ready", "1 if a check of readiness passes.", ("check",))

READINGS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Reading))


def catalogue() -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Name, type, what it says and labels of every metric, in the order of this file."""
    for metric in DECLARED:
        (family,) = metric.describe()
        suffix = "_total" if family.type == "counter" else ""
        yield f"{family.name}{suffix}", family.type, family.documentation, tuple(metric._labelnames)
    for reading in READINGS:
        yield f"{PREFIX}{reading.name}", "gauge", reading.says, reading.labels
