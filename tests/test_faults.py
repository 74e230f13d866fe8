"""The faults that tests put between a client and a server, by a real Toxiproxy."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from confluent_kafka.admin import AdminClient

from chaos.servers import S3, Proxy, kafka_proxy, proxy

pytestmark = pytest.mark.services


@pytest.fixture
def s3() -> Iterator[Proxy]:
    with proxy(S3.removeprefix("http://")) as made:
        yield made


def ask(proxy: Proxy, timeout: float = 30) -> bool:
    """Asks without credentials, and tells whether S3 has refused, which takes an answer."""
    return httpx.get(f"http://{proxy.address}/", timeout=timeout).status_code == 403


def test_without_a_fault_a_proxy_is_transparent(s3: Proxy) -> None:
    """What is asked of the proxy is answered by the server."""
    assert ask(s3)


def test_a_server_that_is_down_refuses(s3: Proxy) -> None:
    """While it is down nobody can connect, and afterwards everybody."""
    with s3.down(), pytest.raises(httpx.ConnectError):
        ask(s3)
    assert ask(s3)


def test_answers_come_late(s3: Proxy) -> None:
    """With a latency above a client's patience the client gives up, and with more patience it is served."""
    with s3.latency(1_500):
        with pytest.raises(httpx.ReadTimeout):
            ask(s3, timeout=0.3)
        assert ask(s3)


def test_connections_are_reset(s3: Proxy) -> None:
    """Resets meet the share of the connections that was asked for."""
    with s3.reset(100), pytest.raises(httpx.ReadError):
        ask(s3)
    with s3.reset(0):
        assert ask(s3)


def test_half_open_connections_stay_silent(s3: Proxy) -> None:
    """A connection that stood goes on and gives no answer, until the fault ends and breaks it."""
    with httpx.Client(base_url=f"http://{s3.address}") as client:
        assert client.get("/").status_code == 403
        with s3.half_open(), pytest.raises(httpx.ReadTimeout):
            client.get("/", timeout=1)
    assert ask(s3)


def test_kafka_is_reached_through_its_proxy_alone() -> None:
    """A client that starts at Kafka's proxy is sent to no other address."""
    with kafka_proxy() as made:
        client = AdminClient({"bootstrap.servers": made.address})
        found = client.list_topics(timeout=30).brokers
    assert [f"{broker.host}:{broker.port}" for broker in found.values()] == [made.address]
