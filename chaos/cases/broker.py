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
    faults = [("SIGTERM", _away(only, signal.SIGTERM)), ("kill -9", _away(only, signal.SIGKILL))]
    _begin(trial, len(faults), trial.scaled(AWAY_S / 10))
    for what, fault in faults:
        trial.rest(trial.scaled(BETWEEN_S))
        trial.meet(f"broker stopped by {what}", fault, seconds=trial.scaled(AWAY_S / 10))


def _stopped(trial: Trial, three: list[Broker]) -> None:
    _begin(trial, 3, trial.scaled(AWAY_S))
    for what in ("SIGTERM", "kill -9", "SIGSTOP"):
        trial.rest(trial.scaled(BETWEEN_S))
        leader = three[_leader(trial)]
        number = signal.SIGTERM if what == "SIGTERM" else signal.SIGKILL
        fault = _paused(leader) if what == "SIGSTOP" else _away(leader, number)
        trial.meet(f"leader at {leader.address} stopped by {what}", fault, seconds=trial.scaled(AWAY_S))


def _begin(trial: Trial, faults: int, fault_s: float) -> None:
    plan = trial.load.mixed(trial.options.assets)
    trial.fleet.start(each(1))
    trial.load.start(plan[:1])
    trial.reach(1.0)
    trial.load.start(plan[1:], rate=len(plan) / (faults * (fault_s + trial.scaled(BETWEEN_S))))


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
