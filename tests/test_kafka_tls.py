"""A broker that demands TLS and SASL/SCRAM: the settings' options let everything in, and nothing else gets in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from bytewax.testing import run_main
from kafka_fixtures import PARTITIONS, counted, everything, record, writing
from pydantic import SecretStr
from typer.testing import CliRunner

from chaos.brokers import secure_broker
from chaos.waiting import eventually
from dataflows.cli import app
from schemas.messages import Message
from schemas.settings import Settings
from schemas.topics import STATUS, TOPICS
from sinks.kafka import KafkaSink, KafkaWriter
from sources.finished import Finished
from sources.kafka import KafkaFeed
from sources.kafka_admin import KafkaAdmin

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a client that is let in."""
    with secure_broker(tmp_path_factory.mktemp("secure")) as (address, options):
        secrets = {name: SecretStr(value) for name, value in options.items()}
        yield Settings(events=f"kafka://{address}", kafka_options=secrets, partitions=PARTITIONS)


def with_options(settings: Settings, **changed: str | None) -> Settings:
    """The settings with some options of librdkafka changed (`_` for `.`), or left out."""
    named = {name.replace("_", "."): value for name, value in changed.items()}
    kept = {name: value for name, value in settings.kafka_options.items() if name not in named}
    changes = {name: SecretStr(value) for name, value in named.items() if value is not None}
    return settings.model_copy(update={"kafka_options": kept | changes})


def test_everything_gets_in_by_settings(secured: Settings, monkeypatch: pytest.MonkeyPatch):
    """The command, the sink and the feed work with options from the environment, and no secret is printed."""
    options = {name: value.get_secret_value() for name, value in secured.kafka_options.items()}
    monkeypatch.setenv("ASSET_PIPELINE_EVENTS", secured.events)
    monkeypatch.setenv("ASSET_PIPELINE_PARTITIONS", str(PARTITIONS))
    monkeypatch.setenv("ASSET_PIPELINE_KAFKA_OPTIONS", json.dumps(options))
    result = CliRunner().invoke(app, ["topics", "apply"])
    assert result.exit_code == 0 and result.stdout.count("created") == len(TOPICS)
    assert options["sasl.password"] not in result.output

    settings = Settings()
    run_main(writing(KafkaSink(settings, [STATUS]), [record(n) for n in range(100)]))
    assert len(everything(settings, STATUS, counted(100))) == 100

    feed, found = KafkaFeed(settings, STATUS, "derive", 0), list[Message]()
    feed.start(None)
    expected = KafkaAdmin(settings).end_offsets(STATUS)[0]
    assert expected and eventually(lambda: found.extend(feed.pull()) or len(found) >= expected)
    feed.finished(Finished(expected))
    feed.close()
    assert KafkaAdmin(settings).committed(STATUS, "derive")[0].offset == expected


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"sasl_password": "not the secret"}, "Authentication failed"),
        ({"ssl_ca_location": None}, "certificate"),
        ({"security_protocol": "PLAINTEXT"}, ""),
    ],
    ids=["wrong_password", "unknown_authority", "no_tls"],
)
def test_nothing_else_gets_in(secured: Settings, changed: dict[str, Any], said: str):
    """A wrong password, a certificate that nobody vouches for or a plain connection ends with an error that says so."""
    outside = with_options(secured, **changed)
    for attempt in (
        lambda: KafkaAdmin(outside, 2).partitions(STATUS),
        lambda: KafkaWriter(outside, [STATUS], 2),
    ):
        with pytest.raises(RuntimeError, match="Kafka does not answer: ") as refused:
            attempt()
        assert said in str(refused.value) and "not the secret" not in str(refused.value)
