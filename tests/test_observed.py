"""Flows under load, seen by a real Prometheus: each graph has something to show, and each fault its alert."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from listening import Listener, listening, spans_of
from scraping import Prometheus, prometheus
from test_alerts import RULES

from chaos.cases.outages import Proxies, proxied
from chaos.flows import FLOWS, ROOT
from chaos.load import Load
from chaos.servers import free_ports
from chaos.stack import SERVERS, Stack, stack
from chaos.waiting import eventually
from ops import dashboards
from schemas.topics import DERIVED, ENRICHED, REGISTERED, VALIDATED

pytestmark = [pytest.mark.services, pytest.mark.tool("prometheus"), pytest.mark.timeout(600)]
ASSETS, ENOUGH = 24, 0.9  # garbage has no stage in which it ends
# what only a fault brings about
SILENT_GRAPHS = {"Tasks that were ended", "Attempts that are made again"}
SILENT_ALERTS = {"StageStuck", "AssetsFail", "DecodersKilled"}


@dataclass
class Observed:
    """Flows that run on servers behind proxies, the Prometheus that scrapes them, and where they send traces."""

    place: Stack
    proxies: Proxies
    running: dict[str, subprocess.Popen[bytes]]
    seen: Prometheus
    collector: Listener


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """One process a flow, through which a load has gone."""
    folder = tmp_path_factory.mktemp("observed")
    targets = {flow: f"127.0.0.1:{port}" for flow, port in zip(FLOWS, free_ports(len(FLOWS)), strict=True)}
    with ExitStack() as on:
        proxies, route = on.enter_context(proxied())
        place = on.enter_context(stack(folder / "stack", SERVERS, route))
        collector = on.enter_context(listening())
        fields = {"metrics_by_tenant": True, "otlp": f"http://127.0.0.1:{collector.port}"}
        running = {
            flow: on.enter_context(started(place, flow, http=address, **fields)) for flow, address in targets.items()
        }
        seen = on.enter_context(prometheus(folder / "prometheus", targets, patience="1s"))
        assert eventually(lambda: len(seen.query("asset_pipeline_ready == 1")) >= 4 * len(FLOWS), 90)
        load, sent = Load(place, seed=1), 0
        made = Observed(place, proxies, running, seen, collector)
        # a rate is seen only of what goes on after it was first scraped, which a busy process may be late for
        for part in load.parts(ASSETS, 2):
            load.start(part, rate=2.0)
            sent += len(part)
            assert eventually(partial(have_ended, made, ENOUGH * sent), 180)
        yield made


@contextmanager
def started(place: Stack, flow: str, **fields: Any) -> Iterator[subprocess.Popen[bytes]]:
    store = place.folder / "recovery" / flow
    store.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bytewax.run", f"dataflows.{flow}:flow", "-r", str(store), "-s", "1", "-b", "0"]
    environment = place.environment(**fields)
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()


def have_ended(observed: Observed, assets: float) -> bool:
    """Whether at least so many have."""
    return sum(values(observed, "sum(asset_pipeline_assets_ended_total)")) >= assets


def values(observed: Observed, expression: str) -> list[float]:
    """The numbers that an expression gives."""
    found = [float(series["value"][1]) for series in observed.seen.query(expression)]
    return [value for value in found if not math.isnan(value)]


@pytest.mark.parametrize("graph", [g for board in dashboards.BOARDS for g in board.graphs], ids=lambda g: g.title)
def test_each_graph_shows_something(observed: Observed, graph: dashboards.Graph) -> None:
    """Under load, but for what only a fault brings about."""
    query = graph.query.replace("$tenant", ".*")
    assert values(observed, query) or graph.title in SILENT_GRAPHS
    for label in re.findall(r"\{\{(\w+)\}\}", graph.legend):
        assert re.search(rf"\b{label}\b", query), f"the legend names {label}, by which the query does not tell apart"


def test_a_trace_goes_through_all_flows(observed: Observed) -> None:
    """With a message between each two, from process to process, and the tables that each has rows in."""

    def through() -> bool:
        seen: dict[bytes, set[tuple[str, str]]] = defaultdict(set)
        for service, span in spans_of(observed.collector):
            seen[span.trace_id].add((service.removeprefix("asset-pipeline."), span.name))
        handed = {("ingest", VALIDATED), ("derive", DERIVED), ("enrich", ENRICHED), ("register", REGISTERED)}
        wanted = {(flow, flow) for flow in FLOWS} | {(flow, f"send {topic.name}") for flow, topic in handed}
        wanted |= {(flow, "append events") for flow in FLOWS} | {("publish", "asset")}
        return any(wanted <= spans for spans in seen.values())

    assert eventually(through, 30)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_looks_at_something(observed: Observed, rule: dict[str, str]) -> None:
    """What it compares is there, but for what only a fault brings about; and none fires while all is well."""
    looked_at = re.split(r" (?:==|>) (?!bool)", rule["expr"])[0]
    assert values(observed, looked_at) or rule["alert"] in SILENT_ALERTS
    assert not values(observed, rule["expr"])


@pytest.mark.parametrize(
    ("server", "alert"), [("Kafka", "KafkaAway"), ("S3", "ObjectsAway"), ("Weaviate", "IndexAway")]
)
def test_a_server_that_is_away_fires_its_alert(observed: Observed, server: str, alert: str) -> None:
    """The alert names the cause, those of other servers stay quiet, and it clears once the server is back."""
    others = {"KafkaAway", "ObjectsAway", "IndexAway"} - {alert}
    with ExitStack() as faults:
        for proxy in observed.proxies[server]:
            faults.enter_context(proxy.down())
        assert eventually(lambda: alert in observed.seen.alerts("firing"), 45)
        assert not others & observed.seen.alerts("firing")
    assert eventually(lambda: not observed.seen.alerts("firing"), 60)


def test_a_process_that_dies_fires_its_alert(observed: Observed) -> None:
    """And no other: the flows beside it go on."""
    observed.running["publish"].kill()
    assert eventually(lambda: observed.seen.alerts("firing") == {"FlowDown"}, 30)
