"""Brokers that are stopped and come back: the only one, and the leader among three that replicate."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from confluent_kafka.admin import AdminClient

from chaos.brokers import Broker, brokers
from chaos.flows import each
from chaos.stack import Route
from chaos.trial import Options, Report, Trial, run, together
from schemas.topics import INGEST, client_options, full_name

AWAY_S, BETWEEN_S = 30.0, 15.0


def broker(options: Options) -> Report:
    """The broker is restarted, by SIGTERM and by kill -9; of three, a partition's leader is stopped for 30 s."""
    some = replace(options, assets=options.assets // 2)
    with brokers(options.folder / "one", 1) as (only,):
        one = run(lambda trial: _restarted(trial, only), some.below("restarted"), Route(kafka=only.address))
    with brokers(options.folder / "three", 3) as three:
        route = Route(kafka=",".join(broker.address for broker in three))
        return together([one, run(lambda trial: _stopped(trial, three), some.below("leader"), route, replication=3)])


def _restarted(trial: Trial, only: Broker) -> None:
    trial.fleet.start(each(1))
    ways = {"SIGTERM": signal.SIGTERM, "kill -9": signal.SIGKILL}
    for part, (what, number) in zip(trial.load.parts(trial.options.assets, len(ways)), ways.items(), strict=True):
        trial.burst(part, trial.scaled(BETWEEN_S))
        trial.meet(f"broker stopped by {what}", _away(only, number), seconds=trial.scaled(AWAY_S / 10))


def _stopped(trial: Trial, three: list[Broker]) -> None:
    trial.fleet.start(each(1))
    ways = {
        "SIGTERM": lambda broker: _away(broker, signal.SIGTERM),
        "kill -9": lambda broker: _away(broker, signal.SIGKILL),
        "SIGSTOP": _paused,
    }
    for part, (what, way) in zip(trial.load.parts(trial.options.assets, len(ways)), ways.items(), strict=True):
        trial.burst(part, trial.scaled(BETWEEN_S))
        leader = three[_leader(trial)]
        trial.meet(f"leader at {leader.address} stopped by {what}", way(leader), seconds=trial.scaled(AWAY_S))


def _leader(trial: Trial) -> int:
    """The broker that leads a random partition of the ingest topic."""
    settings = trial.stack.settings
    name = full_name(settings, INGEST)
    found = AdminClient(dict(client_options(settings))).list_topics(name, timeout=30).topics[name].partitions
    return int(found[trial.random.randrange(len(found))].leader)


@contextmanager
def _away(broker: Broker, number: signal.Signals) -> Iterator[None]:
    broker.stop(number)
    yield
    broker.start()
    broker.wait()


@contextmanager
def _paused(broker: Broker) -> Iterator[None]:
    broker.pause()
    yield
    broker.resume()
