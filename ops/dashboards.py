"""`python -m ops.dashboards` writes Grafana's dashboards into `grafana/` beside this file, one for each audience."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FOLDER = Path(__file__).parent / "grafana"
_SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
_P = "asset_pipeline"


@dataclass(frozen=True)
class Graph:
    """A panel: what it asks, how its lines are called, their unit, and what it tells."""

    title: str
    query: str
    legend: str
    unit: str
    tells: str


@dataclass(frozen=True)
class Board:
    """A dashboard: for whom, and its graphs by rows."""

    name: str
    title: str
    tells: str
    rows: dict[str, tuple[Graph, ...]]

    @property
    def graphs(self) -> Iterator[Graph]:
        """All of them."""
        for graphs in self.rows.values():
            yield from graphs


def _rate(metric: str, by: str, where: str = "", window: str = "5m") -> str:
    return f"sum by ({by}) (rate({_P}_{metric}{where}[{window}]))"


def _quantile(share: float, metric: str, by: str, where: str = "") -> str:
    buckets = f"sum by (le, {by}) (rate({_P}_{metric}_bucket{where}[15m]))"
    return f"histogram_quantile({share}, {buckets})"


OPERATOR = Board(
    "operator", "Operator: is it well, and what is in the way",
    "Every process of every flow: whether it runs, what it waits for, and how far it is behind.",
    {
        "Now": (
            Graph("Processes that answer", 'sum by (flow) (up{job="asset-pipeline"})', "{{flow}}", "short",
                  "A flow without one stands still."),
            Graph("Checks that fail", f"sum by (flow, check) ({_P}_ready == bool 0)", "{{flow}} {{check}}", "short",
                  "0 is well. /readyz of the process has the reason."),
            Graph("Unfinished messages", f"sum by (flow) ({_P}_source_lag_messages)", "{{flow}}", "short",
                  "What each flow has still to finish in its topic."),
            Graph("Processes that are advised", f"max by (flow) (max_over_time({_P}_advised_processes[1h]))",
                  "{{flow}}", "short", "The most of an hour: for `asset-pipeline rescale`."),
            Graph("Age of the oldest asset in hand", f"max by (flow) ({_P}_oldest_unfinished_seconds)", "{{flow}}",
                  "s", "A long video takes long; anything else that grows is stuck."),
        ),
        "What goes through": (
            Graph("Assets that ended, by state", _rate("assets_ended_total", "state, code"), "{{state}} {{code}}",
                  "ops", "Completed, failed with our code, rejected with the producer's, duplicate."),
            Graph("From acceptance to publication", _quantile(0.95, "asset_duration_seconds", "job"), "p95", "s",
                  "What a producer waits for."),
            Graph("Dead letters", _rate("dead_letters_total", "stage, code"), "{{stage}} {{code}}", "ops",
                  "Each is kept, and can be replayed."),
            Graph("Bytes", _rate("bytes_total", "way"), "{{way}}", "Bps", "Originals taken in, files made."),
        ),
        "Places": (
            Graph("Tasks that wait", f"sum by (flow, lane) ({_P}_lane_waiting)", "{{flow}} {{lane}}", "short",
                  "Work that has no process yet."),
            Graph("Processes at work", f"sum by (flow, lane) ({_P}_lane_busy) / sum by (flow, lane) ({_P}_lane_size)",
                  "{{flow}} {{lane}}", "percentunit", "1 is full."),
            Graph("Tasks that were ended", _rate("tasks_total", "lane, code", '{code!="ok"}'), "{{lane}} {{code}}",
                  "ops", "Crashes, and limits of memory and time."),
            Graph("Memory", 'sum by (flow) (process_resident_memory_bytes{job="asset-pipeline"})', "{{flow}}",
                  "bytes", "Of the flows' own processes; their tasks' come on top."),
        ),
        "Stores": (
            Graph("Standing still while an epoch closes", _quantile(0.99, "epoch_close_seconds", "flow"),
                  "{{flow}} p99", "s", "What durable state costs."),
            Graph("Recovery stores", f"max by (flow) ({_P}_recovery_store_bytes)", "{{flow}}", "bytes", "Flat."),
            Graph("Rows that wait for their table", f"sum by (table) ({_P}_table_waiting_rows)", "{{table}}", "short",
                  "More than a few seconds of them: the tables are away."),
            Graph("Small files", f"max by (table) ({_P}_table_small_files)", "{{table}}", "short",
                  "Saw teeth: they are joined every fifty appends."),
        ),
    },
)  # fmt: skip

STAGES = Board(
    "stages", "Stage owner: where the time goes",
    "Stages, steps and models: how long they take, how often their results are found, and how they fail.",
    {
        "Stages": (
            Graph("Time of a stage", _quantile(0.95, "stage_duration_seconds", "stage"), "{{stage}} p95", "s",
                  "Its last attempt on an asset."),
            Graph("Ends", _rate("stage_ends_total", "stage, state"), "{{stage}} {{state}}", "ops", "By state."),
            Graph("At work", f"sum by (stage) ({_P}_stage_at_work)", "{{stage}}", "short", "Attempts just now."),
            Graph("Attempts that are made again", _rate("stage_retries_total", "stage, code"), "{{stage}} {{code}}",
                  "ops", "Services that were away, and errors that may pass."),
        ),
        "Steps": (
            Graph("Time of a step", _quantile(0.95, "step_duration_seconds", "stage, step"), "{{stage}} {{step}} p95",
                  "s", "When it is computed."),
            Graph("Results", _rate("results_total", "stage, how"), "{{stage}} {{how}}", "ops",
                  "Found by their ids, computed, or skipped."),
            Graph("Time to the first preview", _quantile(0.5, "first_playable_seconds", "step"), "{{step}} p50", "s",
                  "What an editor waits for."),
            Graph("Media derived", _rate("media_seconds_total", "kind"), "{{kind}}", "s",
                  "Seconds of media a second: above 1 is faster than it plays."),
        ),
        "Models": (
            Graph("Time of a call", _quantile(0.95, "model_seconds", "model"), "{{model}} p95", "s",
                  "The wait for a process included."),
            Graph("Items of a call", f"sum by (model) (rate({_P}_model_items_sum[5m]))"
                  f" / sum by (model) (rate({_P}_model_items_count[5m]))", "{{model}}", "short",
                  "Pictures, pages or texts."),
        ),
    },
)  # fmt: skip

TENANT = Board(
    "tenant", "Tenant: what became of what was sent",
    "By tenant where ASSET_PIPELINE_METRICS_BY_TENANT is set, else of all together.",
    {
        "Submissions": (
            Graph("Ended", _rate("assets_ended_total", "tenant, state", '{tenant=~"$tenant"}'),
                  "{{tenant}} {{state}}", "ops", "By state."),
            Graph("Of a day, by why", f'sum by (tenant, code) (increase({_P}_assets_ended_total'
                  '{tenant=~"$tenant", code!=""}[1d]))', "{{tenant}} {{code}}", "short",
                  "What was refused or failed, and why."),
            Graph("Share that completes", f'sum by (tenant) (rate({_P}_assets_ended_total'
                  '{tenant=~"$tenant", state="completed"}[1h])) / '
                  f'sum by (tenant) (rate({_P}_assets_ended_total{{tenant=~"$tenant", state!="duplicate"}}[1h]))',
                  "{{tenant}}", "percentunit", "Of what is no duplicate."),
        ),
    },
)  # fmt: skip

BOARDS = (OPERATOR, STAGES, TENANT)


def _panel(graph: Graph) -> Panel:
    query = Dataquery().expr(graph.query).legend_format(graph.legend).ref_id("A")
    panel = Panel().title(graph.title).description(graph.tells).datasource(_SOURCE).with_target(query)
    return panel.unit(graph.unit).span(12).height(8).min(0)


def rendered(board: Board) -> str:
    """The dashboard as Grafana reads it."""
    made = Dashboard(board.title).uid(f"asset-pipeline-{board.name}").description(board.tells)
    made = made.tags(["asset-pipeline"]).refresh("30s").time("now-6h", "now")
    made = made.with_variable(DatasourceVariable("source").label("Source").type("prometheus"))
    if board is TENANT:
        tenants = QueryVariable("tenant").query(f"label_values({_P}_assets_ended_total, tenant)").datasource(_SOURCE)
        made = made.with_variable(tenants.include_all(True).all_value(".*").multi(True))
    for row, graphs in board.rows.items():
        made = made.with_row(Row(row))
        for graph in graphs:
            made = made.with_panel(_panel(graph))
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in BOARDS:
        (FOLDER / f"{each.name}.json").write_text(rendered(each))
