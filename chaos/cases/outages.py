"""Kafka, S3 and Weaviate away in four ways, by Toxiproxy, while assets are on their way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import combinations
from random import Random

from chaos import servers
from chaos.flows import each
from chaos.servers import Proxy, kafka_proxy, proxy
from chaos.stack import Route
from chaos.trial import Options, Report, Trial, run

FAULT_S, SENDING_S, BETWEEN_S = 60.0, 30.0, 10.0
Proxies = dict[str, list[Proxy]]


def outages(options: Options) -> Report:
    """Kafka, S3 and Weaviate each down, 2 s late, with 5 % resets and half-open for 60 s; then two of them at once."""
    with proxied() as (proxies, route):
        return run(lambda trial: _act(trial, proxies), options, faulty=route)


@contextmanager
def proxied() -> Iterator[tuple[Proxies, Route]]:
    """The proxies before each server, and the route through them."""
    with (
        kafka_proxy() as kafka,
        proxy(servers.S3.removeprefix("http://")) as s3,
        proxy(servers.WEAVIATE) as weaviate,
        proxy(servers.WEAVIATE_GRPC) as grpc,
    ):
        route = Route(kafka.address, f"http://{s3.address}", weaviate.address, grpc.address)
        yield {"Kafka": [kafka], "S3": [s3], "Weaviate": [weaviate, grpc]}, route


@contextmanager
def _resets(proxy: Proxy) -> Iterator[None]:
    """Each second another 5 % of the connections are reset: which ones is drawn when the fault begins."""
    over = threading.Event()

    def draw() -> None:
        while not over.is_set():
            with proxy.reset(5):
                over.wait(1.0)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


FAULTS: dict[str, Callable[[Proxy], AbstractContextManager[None]]] = {
    "down": Proxy.down,
    "2 s late": lambda proxy: proxy.latency(2000),
    "5 % reset": _resets,
    "half-open": Proxy.half_open,
}


def planned(random: Random) -> list[list[tuple[str, str]]]:
    """Which servers are away together, and how: each alone in every way, then every two of them."""
    alone = [[(server, fault)] for server in ("Kafka", "S3", "Weaviate") for fault in FAULTS]
    random.shuffle(alone)
    pairs = combinations(("Kafka", "S3", "Weaviate"), 2)
    return alone + [[(server, random.choice(list(FAULTS))) for server in pair] for pair in pairs]


def _act(trial: Trial, proxies: Proxies) -> None:
    faults = planned(trial.random)
    trial.fleet.start(each(1))
    for part, together in zip(trial.load.parts(trial.options.assets, len(faults)), faults, strict=True):
        trial.burst(part, trial.scaled(BETWEEN_S), rate=len(part) / trial.scaled(SENDING_S))
        what = " and ".join(f"{server} {fault}" for server, fault in together)
        met = [FAULTS[fault](proxy) for server, fault in together for proxy in proxies[server]]
        trial.meet(what, *met, seconds=trial.scaled(FAULT_S))
