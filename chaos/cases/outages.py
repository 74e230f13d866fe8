"""Kafka, S3 and Weaviate away in four ways, by Toxiproxy, while assets are on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import combinations
from random import Random

from chaos import servers
from chaos.flows import each
from chaos.servers import Proxy, kafka_proxy, proxy
from chaos.stack import Route
from chaos.trial import Options, Report, Trial, run

FAULT_S = 60.0
BETWEEN_S = 10.0
FAULTS: dict[str, Callable[[Proxy], AbstractContextManager[None]]] = {
    "down": Proxy.down,
    "2 s late": lambda each: each.latency(2000),
    "5 % reset": lambda each: each.reset(5),
    "half-open": Proxy.half_open,
}
Proxies = dict[str, list[Proxy]]


def outages(options: Options) -> Report:
    """Kafka, S3 and Weaviate each down, 2 s late, with 5 % resets and half-open for 60 s; then two of them at once."""
    with _proxies() as (proxies, route):
        return run(lambda trial: _act(trial, proxies), options, faulty=route)


@contextmanager
def _proxies() -> Iterator[tuple[Proxies, Route]]:
    """The proxies before each server, and the route through them."""
    with (
        kafka_proxy() as kafka,
        proxy(servers.S3.removeprefix("http://")) as s3,
        proxy(servers.WEAVIATE) as weaviate,
        proxy(servers.WEAVIATE_GRPC) as grpc,
    ):
        route = Route(kafka.address, f"http://{s3.address}", weaviate.address, grpc.address)
        yield {"Kafka": [kafka], "S3": [s3], "Weaviate": [weaviate, grpc]}, route


def planned(random: Random) -> list[list[tuple[str, str]]]:
    """Which servers are away together, and how: each alone in every way, then every two of them."""
    alone = [[(server, fault)] for server in ("Kafka", "S3", "Weaviate") for fault in FAULTS]
    random.shuffle(alone)
    pairs = combinations(("Kafka", "S3", "Weaviate"), 2)
    return alone + [[(server, random.choice(list(FAULTS))) for server in pair] for pair in pairs]


def _act(trial: Trial, proxies: Proxies) -> None:
    plan, faults = trial.load.mixed(trial.options.assets), planned(trial.random)
    trial.fleet.start(each(1))
    trial.load.start(plan[:1])
    trial.reach(1.0)
    fault_s, between_s = trial.scaled(FAULT_S), trial.scaled(BETWEEN_S)
    trial.load.start(plan[1:], rate=len(plan) / (len(faults) * (fault_s + between_s)))
    for together in faults:
        what = " and ".join(f"{server} {fault}" for server, fault in together)
        met = [FAULTS[fault](each) for server, fault in together for each in proxies[server]]
        trial.meet(what, *met, seconds=fault_s)
        trial.rest(between_s)
