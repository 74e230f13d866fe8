"""A real Prometheus of a test's own, that scrapes processes on loopback."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from chaos.servers import free_ports
from chaos.waiting import eventually

OPS = Path(__file__).parent.parent / "ops"


class Prometheus:
    """What it answers."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/v1", timeout=10)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that the expression gives now."""
        answer = self._client.get("/query", params={"query": expression}).raise_for_status().json()
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def alerts(self, state: str) -> set[str]:
        """The names of the alerts in a state, firing or pending."""
        answer = self._client.get("/alerts").raise_for_status().json()
        return {alert["labels"]["alertname"] for alert in answer["data"]["alerts"] if alert["state"] == state}


@contextmanager
def prometheus(folder: Path, targets: Mapping[str, str], patience: str | None = None) -> Iterator[Prometheus]:
    """One that scrapes these targets (flow -> host:port) each second, by the project's own configuration.

    Alerts wait for `patience` instead of their own times.
    """
    folder.mkdir(parents=True)
    given = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text())
    given["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    rules = yaml.safe_load((OPS / "prometheus" / "alerts.yml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule["for"] = patience or rule.get("for", "0s")
    (folder / "targets").mkdir()
    listed = [{"targets": [address], "labels": {"flow": flow}} for flow, address in targets.items()]
    (folder / "targets" / "all.json").write_text(json.dumps(listed))
    (folder / "alerts.yml").write_text(yaml.safe_dump(rules))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(given))
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command = ["prometheus", "--config.file=prometheus.yml", f"--web.listen-address={address}", "--log.level=error",
               "--storage.tsdb.path=data"]  # fmt: skip
    with subprocess.Popen(command, cwd=folder) as server:
        try:
            assert eventually(lambda: _ready(address), 30)
            yield Prometheus(f"http://{address}")
        finally:
            server.terminate()


def _ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/-/ready").status_code == 200
    except httpx.TransportError:
        return False
