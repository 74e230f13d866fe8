"""The Kafka feed on real brokers: where it begins, what it tells the group, and what it does when something is gone."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from flow_fixtures import AT_ONCE
from kafka_fixtures import PARTITIONS, counted, everything, kafka, own_broker, own_kafka, send  # noqa: F401

from chaos.brokers import Broker
from chaos.waiting import eventually
from dataflows import topics
from operators.gate import Gate
from schemas.messages import Message, Record
from schemas.settings import Settings
from schemas.topics import DERIVED, INGEST, VALIDATED, client_options, full_name, group_of
from sinks.kafka import KafkaSink
from sources.finished import Finished, note_of
from sources.kafka import KafkaFeed, feeds
from sources.kafka_admin import Committed, KafkaAdmin
from sources.pulled import PulledSource
from sources.watermark import Watermark

pytestmark = pytest.mark.services


def started(settings: Settings, offset: int | None = None, store: str = "", most: int = 256) -> KafkaFeed:
    feed = KafkaFeed(settings, VALIDATED, "derive", 0, store, most)
    feed.start(offset)
    return feed


def pulled(feed: KafkaFeed, count: int) -> list[Message]:
    found: list[Message] = []
    assert eventually(lambda: found.extend(feed.pull()) or len(found) >= count, 20)
    return found


def offsets(messages: list[Message]) -> list[int]:
    return [message.offset for message in messages]


def committed(settings: Settings) -> Committed:
    return KafkaAdmin(settings).committed(VALIDATED, "derive")[0]


def expire(settings: Settings, before: int) -> None:
    """Has the broker forget the messages below an offset."""
    admin = AdminClient(dict(client_options(settings)))
    for future in admin.delete_records([TopicPartition(full_name(settings, VALIDATED), 0, before)]).values():
        future.result()


def test_messages_come_as_they_were_written(kafka: Settings):  # noqa: F811
    """Keys, values, tombstones and headers are what a producer gave; the last of two headers of a name counts."""
    producer = Producer(dict(client_options(kafka)))
    headers = [("a", b"1"), ("b", None), ("a", b"2")]
    for value, key in ((b"one", b"k"), (None, b"k"), (b"\xff\x00", None)):
        producer.produce(full_name(kafka, VALIDATED), value, key, partition=0, headers=headers if key else None)
    producer.flush(10)
    feed, name = started(kafka), full_name(kafka, VALIDATED)
    assert pulled(feed, 3) == [
        Message(name, 0, 0, b"k", b"one", {"a": b"2"}),
        Message(name, 0, 1, b"k", None, {"a": b"2"}),
        Message(name, 0, 2, None, b"\xff\x00", {}),
    ]
    assert feed.pull() == []


def test_a_pull_takes_no_more_than_it_should(kafka: Settings):  # noqa: F811
    """A batch has at most the number of messages that was asked for, and none is left out."""
    send(kafka, VALIDATED, [b"x"] * 100)
    feed, batches = started(kafka, most=7), []
    assert eventually(lambda: batches.append(feed.pull()) or sum(map(len, batches)) >= 100)
    assert max(map(len, batches)) == 7 and [m.offset for batch in batches for m in batch] == list(range(100))


def test_a_feed_begins_where_it_is_told_or_the_group_is_or_at_the_first(kafka: Settings):  # noqa: F811
    """A given offset goes before what the group has committed, and that before the oldest message."""
    send(kafka, VALIDATED, [b"x"] * 10)
    assert offsets(pulled(started(kafka), 10)) == list(range(10))
    feed = started(kafka, 6)
    assert offsets(pulled(feed, 4)) == [6, 7, 8, 9]
    feed.finished(Finished(8))
    feed.close()
    assert offsets(pulled(started(kafka), 2)) == [8, 9]
    assert offsets(pulled(started(kafka, 0), 10)) == list(range(10))
    feed = started(kafka, 10)
    assert feed.pull() == []
    send(kafka, VALIDATED, [b"x"])
    assert offsets(pulled(feed, 1)) == [10]


def test_what_is_finished_is_committed_with_its_note(kafka: Settings):  # noqa: F811
    """The group hears of the newest finished offset while the feed is pulled, and of the last one as it closes."""
    send(kafka, VALIDATED, [b"x"] * 10)
    feed = started(kafka, store="store-1")
    pulled(feed, 10)
    for offset in range(1, 6):
        feed.finished(Finished(offset))
    assert eventually(lambda: not feed.pull() and committed(kafka) == Committed(5, "store-1"))
    feed.finished(Finished(7))
    feed.finished(Finished(9))
    feed.close()
    assert committed(kafka) == Committed(9, "store-1")


def test_who_has_no_store_leaves_out_what_is_finished(kafka: Settings):  # noqa: F811
    """Also when it ends before it comes past what was finished; who has a store reads on from where that says."""
    send(kafka, VALIDATED, [b"x"] * 20)
    feed = started(kafka, store="store-1")
    pulled(feed, 20)
    feed.finished(Finished(4, 15, (4, 9, 12)))
    feed.close()
    assert note_of(committed(kafka).note) == ("store-1", 15, (4, 9, 12))
    assert offsets(pulled(started(kafka, 10), 10)) == list(range(10, 20))

    feed = started(kafka, store="store-2", most=4)
    assert feed.position == 4
    found = pulled(feed, 2)
    assert offsets(found) == [4, 9] and feed.position == 12
    feed.finished(Finished(9, 10, (9,)))
    feed.close()
    assert note_of(committed(kafka).note) == ("store-2", 15, (9, 12))
    feed = started(kafka)
    assert offsets(pulled(feed, 7)) == [9, 12, 15, 16, 17, 18, 19]
    feed.finished(Finished(16, 20, (16, 18)))
    feed.close()
    assert offsets(pulled(started(kafka), 2)) == [16, 18]


def test_lag_tools_see_it(kafka: Settings):  # noqa: F811
    """Who lists the broker's groups and their offsets, as lag tools do, finds the flow's, though it has no members."""
    send(kafka, VALIDATED, [b"x"] * 10)
    feed = started(kafka)
    feed.finished(Finished(4))
    feed.close()
    admin, group = AdminClient(dict(client_options(kafka))), group_of(kafka, "derive")
    assert group in {found.group_id for found in admin.list_consumer_groups().result().valid}
    (answer,) = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
    found = [(place.topic, place.partition, place.offset) for place in answer.result().topic_partitions]
    assert found == [(full_name(kafka, VALIDATED), 0, 4)]


def test_an_offset_that_has_expired_is_told_with_what_to_do(kafka: Settings, tmp_path: Path):  # noqa: F811
    """Where the topic no longer has the offset, or has not yet, the start fails; after the reset it does not."""
    send(kafka, VALIDATED, [b"x"] * 10)
    expire(kafka, 5)
    for offset in (4, 11):
        with pytest.raises(
            RuntimeError, match=rf"no offset {offset}, only 5 to 10.*offsets reset derive --to earliest"
        ):
            started(kafka, offset)
    KafkaAdmin(kafka).commit(VALIDATED, "derive", {0: 3}, "store-1")
    with pytest.raises(RuntimeError, match="no offset 3, only 5 to 10"):
        started(kafka)
    topics.reset(kafka, "derive", "earliest")
    assert committed(kafka) == Committed(5, topics.RESET)
    assert offsets(pulled(started(kafka), 5)) == [5, 6, 7, 8, 9]


def test_an_offset_that_expires_while_it_is_read_is_told(kafka: Settings):  # noqa: F811
    """A reader that is overtaken by the retention fails with what to do, and skips nothing in silence."""
    for _ in range(12):
        send(kafka, VALIDATED, [os.urandom(2**20)])
    feed = started(kafka, 0, most=1)
    found = pulled(feed, 1)
    time.sleep(1)
    expire(kafka, 11)
    with pytest.raises(RuntimeError, match="offsets reset derive --to earliest"):
        while len(found) < 12:
            found += feed.pull()
    assert offsets(found) == list(range(len(found))) and len(found) < 11


def test_a_message_of_15_megabytes_comes(kafka: Settings):  # noqa: F811
    """What the ingest topic lets in can be read, whatever its size, and what is behind it too."""
    send(kafka, INGEST, [b"a", os.urandom(15 * 2**20), b"b"])
    feed = KafkaFeed(kafka, INGEST, "ingest", 0)
    feed.start(None)
    assert [len(message.value or b"") for message in pulled(feed, 3)] == [1, 15 * 2**20, 1]


def test_a_topic_that_is_deleted_is_an_error(own_kafka: Settings):  # noqa: F811
    """A start on a topic that is not there says so."""
    with pytest.raises(RuntimeError, match=r"nobody\.assets\.validated, partition 0"):
        started(own_kafka.model_copy(update={"topic_prefix": "nobody"}))


def test_an_outage_is_idle_and_then_goes_on(own_broker: Broker, own_kafka: Settings, capsys: Any):  # noqa: F811
    """While the broker is gone nothing comes and `connected` is False; then what was written comes, each once."""
    send(own_kafka, VALIDATED, [b"x"] * 10)
    feed = started(own_kafka)
    found = pulled(feed, 10)
    own_broker.stop()
    try:
        assert eventually(lambda: feed.pull() == [] and not feed.connected, 20)
        feed.finished(Finished(10))
        assert feed.pull() == []
    finally:
        own_broker.start()
        own_broker.wait()
    send(own_kafka, VALIDATED, [b"x"] * 10)
    assert eventually(lambda: found.extend(feed.pull()) or (len(found) >= 20 and feed.connected), 30)
    assert offsets(found) == list(range(20))
    feed.close()
    assert committed(own_kafka).offset == 10
    logged = capsys.readouterr().out
    assert logged.count("kafka_away") == logged.count("kafka_back") == 1


def test_closing_does_not_wait_for_a_broker_that_stands_still(own_broker: Broker, own_kafka: Settings):  # noqa: F811
    """With a commit that nobody answers a feed closes all the same, though the client's own end would not."""
    feed = started(own_kafka)
    assert feed.pull() == []
    own_broker.pause()
    try:
        feed.finished(Finished(0))
        closing = threading.Thread(target=feed.close)
        closing.start()
        closing.join(40)
        assert not closing.is_alive()
    finally:
        own_broker.resume()


def test_processes_share_the_partitions(kafka: Settings):  # noqa: F811
    """The ordinals of all processes give each partition to one of them; a process too many is told so."""
    for processes in (1, 3, 4):
        shares = [
            list(feeds(kafka.model_copy(update={"process": n, "processes": processes}), VALIDATED, "derive"))
            for n in range(processes)
        ]
        assert sorted(name for share in shares for name in share) == [f"{n:04d}" for n in range(PARTITIONS)]
    assert feeds(kafka.model_copy(update={"process": 1, "processes": 3}), VALIDATED, "derive").keys() == {"0001"}
    for process, processes in ((4, 5), (3, 3)):
        with pytest.raises(RuntimeError, match=f"process {process} of {processes} has nothing to read"):
            feeds(kafka.model_copy(update={"process": process, "processes": processes}), VALIDATED, "derive")


def test_from_topic_to_topic_through_a_crash(kafka: Settings, tmp_path: Path):  # noqa: F811
    """A flow between two topics that fails half-way and runs again hands on every message."""
    for number in range(PARTITIONS):
        send(kafka, VALIDATED, [f"{number}-{n}".encode() for n in range(200)], number)
    init_db_dir(tmp_path, 1)
    gate, handed_on = Gate(10_000), 0

    def copied(fail_at: int) -> Dataflow:
        def hand_on(message: Message) -> tuple[str, Record]:
            nonlocal handed_on
            handed_on += 1
            if handed_on == fail_at:
                raise KeyError("half-way")
            return str(message.partition), Record(DERIVED.name, str(message.partition), message.value or b"", {})

        flow = Dataflow("copied")
        found = feeds(kafka, VALIDATED, "derive")
        marks = {name: Watermark(set, set()) for name in found}
        messages = op.input("in", flow, PulledSource(found, gate, marks))
        op.output("out", op.map("hand_on", messages, hand_on), KafkaSink(kafka, [DERIVED]))
        return flow

    recovery, admin = RecoveryConfig(str(tmp_path)), KafkaAdmin(kafka)

    def all_finished() -> bool:
        return all(found.offset == 200 for found in admin.committed(VALIDATED, "derive").values())

    with pytest.raises(Exception, match=r"mapper|half-way"):
        run_main(copied(400), epoch_interval=AT_ONCE, recovery_config=recovery)
    threading.Thread(target=lambda: (eventually(all_finished, 90), gate.drain())).start()
    run_main(copied(0), epoch_interval=AT_ONCE, recovery_config=recovery)
    expected = {f"{number}-{n}".encode() for number in range(PARTITIONS) for n in range(200)}
    assert {message.value() for message in everything(kafka, DERIVED, counted(800))} == expected
    assert all_finished()


def test_a_client_that_stays_away_is_replaced(own_kafka: Settings, own_broker: Broker, monkeypatch):  # noqa: F811
    """While the broker is down new clients take turns, and once it is back nothing is missed or comes twice."""
    monkeypatch.setattr("sources.kafka._RENEW_S", 0.5)
    send(own_kafka, VALIDATED, [b"1", b"2", b"3"])
    feed = started(own_kafka)
    first, found = feed._consumer, pulled(feed, 3)
    own_broker.stop()
    assert eventually(lambda: not feed.pull() and feed._consumer is not first, 30)
    own_broker.start()
    own_broker.wait()
    send(own_kafka, VALIDATED, [b"4", b"5"])
    found += pulled(feed, 2)
    assert offsets(found) == [0, 1, 2, 3, 4] and feed.pull() == []
    feed.close()
