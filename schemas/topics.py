"""The topics between producers, flows and consumers, each declared once, and the names that settings give them."""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from zlib import crc32

from schemas import events, usage
from schemas.settings import Settings

_MIB = 2**20


class Topic(NamedTuple):
    """What a topic carries, by which of its fields it is keyed, and for how many times the settings' retention.

    A compacted topic keeps the newest message of a key only, and a tombstone removes that one too.
    """

    name: str
    key: str
    description: str
    most_bytes: int = 4 * _MIB
    retentions: int = 1
    compacted: bool = False


INGEST: Final = Topic(
    "assets.ingest",
    "asset_id",
    "What producers ask for.",
    most_bytes=16 * _MIB,  # so that an event which is too large for us can be read, and becomes a dead letter
)
STATUS: Final = Topic("assets.status", "asset_id", "Every change of an asset's state, in order.")
PUBLICATIONS: Final = Topic("assets.publications", "asset_id", "What was published to a channel or withdrawn from it.")
NOTIFICATIONS: Final = Topic("assets.notifications", "asset_id", "What an owner is told of what did not complete.")
DEAD_LETTERS: Final = Topic(
    "assets.dead-letters",
    "dead_letter_id",
    "What ended badly, to be replayed.",
    retentions=4,  # someone has to look at it first
    compacted=True,  # a letter that is sent again is the same one, and `delete` can take it back
)
VALIDATED: Final = Topic("assets.validated", "asset_id", "Work from ingest to derive, in batches.")
DERIVED: Final = Topic("assets.derived", "asset_id", "Work from derive to enrich, in batches.")
ENRICHED: Final = Topic("assets.enriched", "asset_id", "Work from enrich to register, in batches.")
REGISTERED: Final = Topic("assets.registered", "asset_id", "Work from register to publish, in batches.")

CHUNKS: Final = Topic("assets.chunks", "chunk_id", "Chunks of long videos, to be rendered by whoever reads them.")
CHUNKS_DONE: Final = Topic("assets.chunks-done", "asset_id", "How chunks ended, for the process that waits for them.")

USAGE: Final = Topic("assets.usage", "asset_id", "What becomes of assets in use, as those who use them tell it.")

BORDER: Final = (STATUS, PUBLICATIONS, NOTIFICATIONS, DEAD_LETTERS)
TOPICS: Final = (INGEST, *BORDER, VALIDATED, CHUNKS, CHUNKS_DONE, DERIVED, ENRICHED, REGISTERED, USAGE)
# what producers send
PRODUCED: Final = (INGEST, USAGE)

# where an event of this type is told
OF_EVENT: Final = {
    events.INGEST: INGEST,
    events.STATUS: STATUS,
    events.PUBLICATION: PUBLICATIONS,
    events.NOTIFICATION: NOTIFICATIONS,
    events.DEAD_LETTER: DEAD_LETTERS,
    usage.USAGE: USAGE,
}
# what a flow reads; `derive` hears of CHUNKS_DONE besides, from whenever it begins
READ_BY: Final = {
    "pipeline": INGEST,
    "ingest": INGEST,
    "derive": VALIDATED,
    "chunks": CHUNKS,
    "enrich": DERIVED,
    "register": ENRICHED,
    "publish": REGISTERED,
    "usage": USAGE,
}


def full_name(settings: Settings, topic: Topic) -> str:
    """The topic's name on the broker."""
    return _prefixed(settings, topic.name)


def group_of(settings: Settings, flow: str) -> str:
    """The consumer group that a flow commits to; nobody subscribes with it."""
    return _prefixed(settings, f"assets.{flow}")


def _prefixed(settings: Settings, name: str) -> str:
    return f"{settings.topic_prefix}.{name}" if settings.topic_prefix else name


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: CRC-32 (IEEE 802.3) of its UTF-8, the same as librdkafka's partitioner `consistent`."""
    return crc32(key.encode()) % partitions


def client_options(settings: Settings) -> dict[str, str]:
    """What every client of Kafka is given, as options of librdkafka; they hold secrets, so they are never logged.

    Raises ValueError where the settings name no Kafka.
    """
    if not settings.events:
        raise ValueError("no Kafka is configured: set ASSET_PIPELINE_EVENTS to kafka://host:port")
    return {
        "bootstrap.servers": settings.events.removeprefix("kafka://").rstrip("/"),
        "client.id": "asset-pipeline",
        # a connection that stands and answers nothing is given up after this
        "socket.timeout.ms": "8000",
        "reconnect.backoff.max.ms": "2000",
        # what happens is told by callbacks instead
        "log_level": "2",
        **{name: value.get_secret_value() for name, value in settings.kafka_options.items()},
    }


def partitions_in(metadata: Any, name: str) -> int:
    """How many partitions a topic has by a client's metadata. Raises RuntimeError if there is no such topic."""
    found = metadata.topics.get(name)
    if found is None or not found.partitions:
        raise RuntimeError(f"there is no topic {name}: run `asset-pipeline topics apply`")
    return len(found.partitions)
