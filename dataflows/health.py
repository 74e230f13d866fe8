"""What a process says of itself over HTTP: `/startupz`, `/livez` and `/readyz` for an orchestrator, and `/metrics`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from operators.pulse import Pulse

EVERY_S, ANSWER_S = 1.0, 5.0
_log = structlog.get_logger()
Check = Callable[[], None]


class Health:
    """Looks again and again, each check beside the others on a thread of its own: raising is how it fails.

    A process is started once its run loop has turned; alive while that and all stages do; ready while each check has
    passed within the last `ANSWER_S` seconds. What changes is logged.
    """

    def __init__(self, pulse: Pulse, checks: Mapping[str, Check]) -> None:
        self._pulse, self._checks = pulse, checks
        self.failing = dict.fromkeys(checks, "not looked at yet")
        self._stuck: list[str] = []
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(max(1, len(checks)), "health")
        self._asked: dict[str, tuple[float, Future[None]]] = {}
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def close(self) -> None:
        """Looks no more."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def startup(self) -> tuple[bool, dict[str, Any]]:
        """Whether the flow has begun."""
        return self._pulse.turned is not None, {}

    def live(self) -> tuple[bool, dict[str, Any]]:
        """Whether it turns, and which stages are stuck."""
        stuck = self._pulse.stuck()
        return not stuck, {"stuck": stuck}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether it can work, and what is in the way."""
        failing = {name: why for name, why in self.failing.items() if why}
        return self.startup()[0] and not failing, {"failing": failing}

    def _watch(self) -> None:
        while not self._stop.wait(EVERY_S if self._asked else 0):
            for name, check in self._checks.items():
                self._note(name, self._look(name, check))
            if (stuck := self._pulse.stuck()) != self._stuck:
                _log.error("stages_stuck", stages=stuck) if stuck else _log.info("stages_go_on", stages=self._stuck)
                self._stuck = stuck

    def _look(self, name: str, check: Check) -> str:
        """Why a check fails by its last answer, "" if it passes."""
        since, asked = self._asked.get(name) or (0.0, None)
        if asked is not None and not asked.done():
            late = time.monotonic() - since
            return f"no answer for {late:.0f} s" if late > ANSWER_S else self.failing[name]
        self._asked[name] = time.monotonic(), self._pool.submit(check)
        if asked is None:
            return self.failing[name]
        error = asked.exception()
        return f"{type(error).__name__}: {error}"[:300] if error else ""

    def _note(self, name: str, why: str) -> None:
        if bool(why) != bool(self.failing[name]):
            _log.warning("check_fails", check=name, why=why) if why else _log.info("check_passes", check=name)
        self.failing[name] = why


def serve(address: str, health: Health) -> ThreadingHTTPServer:
    """Answers at `host:port` on a thread of its own, until its `shutdown`. Raises OSError if the port is taken."""
    routes = {"/startupz": health.startup, "/livez": health.live, "/readyz": health.ready}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                encode, media_type = choose_encoder(self.headers.get("Accept", ""))
                self._answer(200, media_type, encode(REGISTRY))
            elif path in routes:
                well, facts = routes[path]()
                self._answer(200 if well else 503, "application/json", json.dumps({"ok": well, **facts}).encode())
            else:
                self._answer(404, "text/plain", b"/startupz /livez /readyz /metrics\n")

        def _answer(self, code: int, media_type: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    host, _, port = address.rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server
