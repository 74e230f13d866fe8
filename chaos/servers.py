"""The servers of `make services` and faults on the way to them, by Toxiproxy."""

from __future__ import annotations

import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

_OFFSET = int(os.environ.get("PORT_OFFSET", "0"))


def _address(port: int) -> str:
    return f"127.0.0.1:{port + _OFFSET}"


KAFKA = _address(9092)
WEAVIATE, WEAVIATE_GRPC = _address(8080), _address(50051)
S3, S3_KEY, S3_SECRET = f"http://{_address(7070)}", "test", "testsecret"
TOXIPROXY = f"http://{_address(8474)}"
# the broker's listener for clients that are to meet faults, and the address that it gives them as its own
_KAFKA_FAULTS, _KAFKA_FAULTS_PROXY = _address(9094), _address(9095)

SCRIPT = Path(__file__).parent.parent / "services" / "services.sh"
STATE = Path(os.environ.get("SERVICES_STATE", SCRIPT.parent.parent / ".services"))


def unanswered() -> tuple[str, ...]:
    """The servers that nobody answers for, by name."""
    addresses = {"Kafka": KAFKA, "Weaviate": WEAVIATE, "S3": S3, "Toxiproxy": TOXIPROXY}
    return tuple(name for name, address in addresses.items() if not listens(address.removeprefix("http://")))


def fetch(*servers: str) -> None:
    """Gets the programs of servers that are to be started beside the others. Raises RuntimeError."""
    done = subprocess.run([SCRIPT, "fetch", *servers], text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def listens(address: str) -> bool:
    """Whether a connection to `host:port` is taken."""
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on, each another."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@dataclass(frozen=True)
class Proxy:
    """Stands before a server at an address of its own (`host:port`). Each fault lasts as long as its `with` block."""

    name: str
    address: str

    @contextmanager
    def down(self) -> Iterator[None]:
        """Connections break, and new ones are refused."""
        self._ask("POST", "", enabled=False)
        try:
            yield
        finally:
            self._ask("POST", "", enabled=True)

    @contextmanager
    def latency(self, ms: int) -> Iterator[None]:
        """Each answer comes so much later."""
        with self._toxic("latency", "downstream", latency=ms):
            yield

    @contextmanager
    def reset(self, percent: float) -> Iterator[None]:
        """So many of the connections, those that stand and new ones, are reset at the next answer."""
        with self._toxic("reset_peer", "downstream", percent / 100, timeout=0):
            yield

    @contextmanager
    def half_open(self) -> Iterator[None]:
        """Connections stand and are taken, but nothing comes through; at the end they break."""
        with self._toxic("timeout", "upstream", timeout=0), self._toxic("timeout", "downstream", timeout=0):
            yield

    @contextmanager
    def _toxic(self, kind: str, stream: str, toxicity: float = 1.0, **attributes: int) -> Iterator[None]:
        name = f"{kind}-{stream}-{uuid.uuid4().hex}"
        fields = {"name": name, "type": kind, "stream": stream, "toxicity": toxicity, "attributes": attributes}
        self._ask("POST", "/toxics", **fields)
        try:
            yield
        finally:
            self._ask("DELETE", f"/toxics/{name}")

    def _ask(self, method: str, path: str, **fields: Any) -> None:
        httpx.request(method, f"{TOXIPROXY}/proxies/{self.name}{path}", json=fields).raise_for_status()


@contextmanager
def proxy(upstream: str, listen: str = "127.0.0.1:0", name: str = "") -> Iterator[Proxy]:
    """A proxy before the server at `upstream` (`host:port`), on a free port unless one is named."""
    fields = {"name": name or uuid.uuid4().hex, "upstream": upstream, "listen": listen}
    made = httpx.post(f"{TOXIPROXY}/proxies", json=fields).raise_for_status().json()
    try:
        yield Proxy(made["name"], made["listen"])
    finally:
        httpx.delete(f"{TOXIPROXY}/proxies/{made['name']}").raise_for_status()


@contextmanager
def kafka_proxy() -> Iterator[Proxy]:
    """A proxy before Kafka that all of a client's connections pass; there is one at a time, and the newest wins.

    A client leaves any other proxy at once, for the address that the broker gives as its own.
    """
    httpx.delete(f"{TOXIPROXY}/proxies/kafka")  # of a run that was killed
    with proxy(_KAFKA_FAULTS, _KAFKA_FAULTS_PROXY, "kafka") as made:
        yield made
