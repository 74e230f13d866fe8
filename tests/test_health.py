"""What a process says of itself: whether it turns, what is in the way of its work, and all that in numbers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from kafka_fixtures import own_broker, own_kafka  # noqa: F401  (fixtures)

from chaos.brokers import Broker
from chaos.servers import free_ports
from chaos.waiting import eventually
from dataflows import catalogue, health
from dataflows.health import Health, serve
from operators.loop import Loop
from operators.pulse import LOOP, Pulse
from schemas import metrics
from schemas.settings import Settings

ROOT = Path(__file__).parent.parent


def test_the_list_of_metrics_is_true() -> None:
    """METRICS.md is what the declarations say; all names are of one prefix, and each is there once."""
    assert catalogue.FILE.read_text() == catalogue.text(), "run python -m dataflows.catalogue"
    names = [name for name, *_ in metrics.catalogue()]
    assert len(set(names)) == len(names) > 30
    assert all(name.startswith(metrics.PREFIX) for name in names)
    assert not {"asset_id", "asset", "job_id"} & {label for *_, labels in metrics.catalogue() for label in labels}


def test_an_attempt_past_its_deadline_is_named() -> None:
    """As long as it is at work, and not before it has been told to end and has not."""
    pulse = Pulse(grace_s=0.1)
    with pulse.attempt("derive", 0.1), pulse.attempt("enrich", 60):
        assert pulse.at_work() == {"derive": 1, "enrich": 1}
        assert pulse.stuck() == []
        time.sleep(0.25)
        assert pulse.stuck() == ["derive"]
    assert pulse.stuck() == [] and pulse.at_work() == {"derive": 0, "enrich": 0}


@pytest.mark.parametrize(("module", "name"), [("operators.stages.derive", "derive"), ("another", LOOP)])
def test_whoever_holds_the_loop_is_named(module: str, name: str) -> None:
    """The stage whose code blocks the loop of all stages."""
    free, space = threading.Event(), {"__name__": module}
    exec("def hold(event):\n    event.wait(30)", space)
    pulse: Any = Pulse(grace_s=0.1)
    with Loop() as loop:
        loop.call(pulse.loop_beat)
        loop.call(space["hold"], free)
        assert eventually(lambda: pulse.stuck() == [name], 5)
        free.set()
        loop.call(pulse.loop_beat)
        assert eventually(lambda: pulse.stuck() == [], 5)


@contextmanager
def served(pulse: Pulse, **checks: health.Check) -> Iterator[httpx.Client]:
    looking = Health(pulse, checks)
    server = serve("127.0.0.1:0", looking)
    looking.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}") as client:
        yield client
    looking.close()
    server.shutdown()


def test_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready once the flow has begun and every check passes; what fails, and what does not answer, is said."""
    monkeypatch.setattr(health, "EVERY_S", 0.02)
    monkeypatch.setattr(health, "ANSWER_S", 0.2)
    pulse, state, hang = Pulse(), {"fails": False}, threading.Event()
    hang.set()

    def fails() -> None:
        if state["fails"]:
            raise RuntimeError("the reason")

    with served(pulse, one=fails, two=lambda: hang.wait(30) and None) as client:

        def failing() -> dict[str, str]:
            return client.get("/readyz").json()["failing"]

        assert eventually(lambda: failing() == {}, 5)
        assert client.get("/startupz").status_code == client.get("/readyz").status_code == 503
        pulse.beat()
        assert client.get("/startupz").status_code == client.get("/readyz").status_code == 200
        state["fails"] = True
        assert eventually(lambda: failing() == {"one": "RuntimeError: the reason"}, 5)
        hang.clear()
        assert eventually(lambda: failing().get("two", "").startswith("no answer"), 5)
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").json() == {"ok": True, "stuck": []}
        state["fails"] = False
        hang.set()
        assert eventually(lambda: client.get("/readyz").status_code == 200, 5)
        assert client.get("/else").status_code == 404


@pytest.mark.services
def test_a_broker_that_dies_makes_a_flow_unready(
    own_kafka: Settings,  # noqa: F811
    own_broker: Broker,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Within 15 s, though the engine raises nothing; it lives on, and is ready again soon after the broker is back."""
    port = free_ports(1)[0]
    given = {"http": f"127.0.0.1:{port}", "out": tmp_path, "events": own_kafka.events,
             "topic_prefix": own_kafka.topic_prefix}  # fmt: skip
    settings = {f"ASSET_PIPELINE_{name.upper()}": str(value) for name, value in given.items()}
    command = [sys.executable, "-m", "bytewax.run", "dataflows.publish:flow", "-r", str(tmp_path / "r"), "-b", "0"]

    def answer(path: str) -> int:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code
        except httpx.TransportError:
            return 0

    with subprocess.Popen([*command, "-s", "1"], cwd=ROOT, env={**os.environ, **settings}) as flow:
        try:
            assert eventually(lambda: answer("/readyz") == 200, 60)
            own_broker.pause()
            assert eventually(lambda: answer("/readyz") == 503, 20)  # 15, and what else the machine does
            found = httpx.get(f"http://127.0.0.1:{port}/readyz").json()["failing"]
            assert "assets.registered" in found["source"]
            assert answer("/livez") == 200
            own_broker.resume()
            assert eventually(lambda: answer("/readyz") == 200, 30)
            text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            assert "asset_pipeline_source_connected{" in text and "asset_pipeline_recovery_store_bytes" in text
        finally:
            own_broker.resume()
            flow.terminate()
            assert flow.wait(60) == 0
