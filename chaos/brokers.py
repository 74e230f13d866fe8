"""Kafka brokers beside the one of `make services`, each a process: three that replicate, or one that demands TLS."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chaos.servers import STATE, fetch, free_ports
from chaos.waiting import eventually

CLUSTER_ID = "dGVzdHMtb2YtYnJva2Vycw"
USER, PASSWORD = "pipeline", "a secret"
READY_S = 180


@dataclass
class Broker:
    """A broker that is its own controller too, at `address` (`host:port`), with everything of it in `folder`."""

    folder: Path
    address: str
    properties: dict[str, str]
    format_options: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def prepare(self) -> subprocess.Popen[bytes]:
        """Begins to make the folder of its data."""
        self.folder.mkdir(parents=True)
        properties = self.properties | {"log.dirs": str(self.folder / "data")}
        self._settings.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        options = ("-t", CLUSTER_ID, "-c", str(self._settings), *self.format_options)
        return self._java("kafka.tools.StorageTool", "format", *options)

    def start(self) -> None:
        """Starts its process, and does not wait."""
        self._process = self._java("kafka.Kafka", str(self._settings))

    def wait(self) -> None:
        """Waits until it takes part."""
        if not eventually(lambda: "Kafka Server started" in self._log.read_text() or self._ended, READY_S):
            raise TimeoutError(f"the broker is not ready after {READY_S} s: {self._last_lines}")
        if self._ended:
            raise RuntimeError(f"the broker did not start: {self._last_lines}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends its process by a signal, and waits for the end."""
        self._signal(number)
        self._signal(signal.SIGCONT)
        self._started.wait(READY_S)

    def pause(self) -> None:
        """Its process stands still: connections stay, nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Its process goes on after a pause."""
        self._signal(signal.SIGCONT)

    def end(self) -> None:
        """Ends its process if there is one."""
        if not self._ended:
            self.stop(signal.SIGKILL)

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    @property
    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    @property
    def _last_lines(self) -> str:
        return "\n".join(self._log.read_text().splitlines()[-5:])

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _signal(self, number: int) -> None:
        self._started.send_signal(number)

    def _java(self, *arguments: str) -> subprocess.Popen[bytes]:
        quick = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.apache.logging.log4j.level=INFO")
        with self._log.open("wb") as log:
            return subprocess.Popen(["java", *quick, "-cp", f"{STATE}/kafka/*", *arguments], stdout=log, stderr=log)


@contextmanager
def brokers(folder: Path, count: int = 3) -> Iterator[list[Broker]]:
    """Brokers that replicate, all running: topics get `count` replicas, of which all but one must be in sync."""
    ports = free_ports(2 * count)
    voters = [f"{node}@127.0.0.1:{port}" for node, port in enumerate(ports[count:])]
    common = _replication(count) | {"controller.quorum.voters": ",".join(voters)}
    made = []
    for node in range(count):
        address, controller = f"127.0.0.1:{ports[node]}", f"127.0.0.1:{ports[count + node]}"
        listeners = {"listeners": f"PLAINTEXT://{address},CONTROLLER://{controller}"}
        made.append(Broker(folder / str(node), address, _node(node) | common | listeners))
    with _running(made):
        yield made


@contextmanager
def secure_broker(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """One broker whose only listener for clients demands TLS and SASL/SCRAM-SHA-512.

    Gives its address and the options with which a client of librdkafka is let in.
    """
    port, controller = free_ports(2)
    address = f"127.0.0.1:{port}"
    certificate, keystore = _certificate(folder)
    login = f'org.apache.kafka.common.security.scram.ScramLoginModule required username="{USER}" password="{PASSWORD}";'
    properties = (
        _node(0)
        | _replication(1)
        | {
            "controller.quorum.voters": f"0@127.0.0.1:{controller}",
            "listeners": f"CLIENTS://{address},CONTROLLER://127.0.0.1:{controller}",
            "listener.security.protocol.map": "CLIENTS:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENTS",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.clients.scram-sha-512.sasl.jaas.config": login,
            **{f"ssl.{store}.{key}": value for store in ("keystore", "truststore") for key, value in keystore.items()},
        }
    )
    scram = ("--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]")
    with _running([Broker(folder / "broker", address, properties, scram)]):
        yield (
            address,
            {
                "security.protocol": "SASL_SSL",
                "ssl.ca.location": str(certificate),
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": USER,
                "sasl.password": PASSWORD,
            },
        )


def _node(number: int) -> dict[str, str]:
    return {
        "node.id": str(number),
        "process.roles": "broker,controller",
        "controller.listener.names": "CONTROLLER",
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
    }


def _replication(count: int) -> dict[str, str]:
    in_sync = str(max(1, count - 1))
    return {
        "default.replication.factor": str(count),
        "min.insync.replicas": in_sync,
        "offsets.topic.num.partitions": "3",
        "offsets.topic.replication.factor": str(count),
        "transaction.state.log.replication.factor": str(count),
        "transaction.state.log.min.isr": in_sync,
    }


def _certificate(folder: Path) -> tuple[Path, dict[str, str]]:
    """A certificate for 127.0.0.1 that vouches for itself, and the keystore it is in."""
    store, certificate = folder / "keystore.p12", folder / "certificate.pem"
    where = ("-alias", "broker", "-keystore", str(store), "-storepass", PASSWORD)
    make = ("-genkeypair", "-keyalg", "RSA", "-dname", "CN=broker", "-ext", "san=ip:127.0.0.1", "-ext", "bc:c=ca:true")
    for command in (make, ("-exportcert", "-rfc", "-file", str(certificate))):
        subprocess.run(["keytool", *command, *where], check=True, capture_output=True)
    return certificate, {"location": str(store), "password": PASSWORD, "type": "PKCS12"}


@contextmanager
def _running(made: list[Broker]) -> Iterator[None]:
    fetch("kafka")
    try:
        for broker, formatting in [(broker, broker.prepare()) for broker in made]:
            if formatting.wait(READY_S):
                raise RuntimeError(f"{broker.folder}: {broker._last_lines}")
        for broker in made:
            broker.start()
        for broker in made:
            broker.wait()
        yield
    finally:
        for broker in made:
            broker.end()
