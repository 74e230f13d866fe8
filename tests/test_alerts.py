"""Alerts and dashboards are valid; alerts fire for what they name, and have an entry in the runbook."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops import dashboards
from schemas import metrics

OPS = Path(__file__).parent.parent / "ops"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((OPS / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in RULES]
ENTRIES = dict(re.findall(r"^## (\w+)\n\n(.+?)(?=\n## |\Z)", (OPS / "RUNBOOK.md").read_text(), re.M | re.S))
# of a histogram and of a counter, as Prometheus has them
_SERIES = re.compile(r"asset_pipeline_\w+?(?=_bucket|_count|_sum|\W)")


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], cwd=OPS / "prometheus", text=True, capture_output=True, timeout=60)


@pytest.mark.tool("promtool")
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")],
)
def test_promtool_finds_nothing(arguments: tuple[str, ...]) -> None:
    """Rules and configuration are valid, and each alert fires in its unit test, and not before."""
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_unit_test_and_an_entry_in_the_runbook() -> None:
    """Each is tested, once at least; and the runbook says something of each, and of nothing else."""
    tests = yaml.safe_load((OPS / "prometheus" / "alerts_test.yml").read_text())["tests"]
    tested = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert tested == set(NAMES) == set(ENTRIES)
    assert len(set(NAMES)) == len(NAMES)
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"ops/RUNBOOK.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert len(ENTRIES[rule["alert"]]) > 100


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_alerts_ask_for_metrics_that_there_are(rule: dict[str, Any]) -> None:
    """Every series in an expression is of a metric of the catalogue, or Prometheus's own `up`."""
    known = {name for name, *_ in metrics.catalogue()}
    found = set(_SERIES.findall(rule["expr"] + " "))
    assert found <= known
    assert found or rule["expr"].startswith("up{")


@pytest.mark.parametrize("board", dashboards.BOARDS, ids=lambda board: board.name)
def test_the_dashboards_are_what_is_written(board: dashboards.Board) -> None:
    """The files are those that `python -m ops.dashboards` writes."""
    written = (dashboards.FOLDER / f"{board.name}.json").read_text()
    assert written == dashboards.rendered(board)
    assert sum(panel["type"] == "timeseries" for panel in json.loads(written)["panels"]) == len(list(board.graphs))
