"""Which objects are still referenced: whatever has an object's SHA-256 in it counts, whether or not it can be decoded.

So a record of an older version, a message of a newer one and a letter with any content all hold what they name. What
is read is more than what is unfinished: all records, the whole inbox, and every message that the broker still keeps.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator, Set

import pyarrow as pa
from pydantic import ValidationError

from dataflows.ownership import RESULTS, inbox_of, records
from schemas.batches import ARROW
from schemas.errors import AssetError
from schemas.events import DeadLetter
from schemas.messages import Headers, media_type
from schemas.ports import ObjectStore
from schemas.settings import Settings
from schemas.topics import CHUNKS, DERIVED, ENRICHED, INGEST, REGISTERED, VALIDATED
from sources.kafka_topic import messages

Object = tuple[str, str]
# by tenant, which their keys name; a letter may be of a message whose tenant nobody could read
OF_TENANTS, LETTERS = ("manifests", RESULTS, "originals", "jobs", "claims"), "dead-letters"
TO_COME = (INGEST, VALIDATED, CHUNKS, DERIVED, ENRICHED, REGISTERED)
_DIGITS, _LENGTH = re.compile(rb"[0-9a-f]{64,}"), 64


def digests(data: bytes) -> Iterator[str]:
    """Every SHA-256 in hex that stands in the bytes; in a longer run of digits, all that it may be."""
    for run in _DIGITS.findall(data):
        for start in range(len(run) - _LENGTH + 1):
            yield run[start : start + _LENGTH].decode()


def text_of(value: bytes, headers: Headers) -> bytes:
    """A message's text: Arrow's columns write digests without anything between them."""
    if media_type(headers) != ARROW:
        return value
    try:
        with pa.ipc.open_stream(value) as reader:
            return repr(reader.read_all().to_pylist()).encode()
    except (pa.ArrowException, OSError, ValueError):
        return value


async def referenced(settings: Settings, store: ObjectStore, asked: Set[Object]) -> set[Object]:
    """Those of the objects, as (tenant, SHA-256), that something references. Raises store_unavailable, RuntimeError.

    Messages are read first: what a flow makes of one meanwhile is a record by the time that records are read.
    """
    search = Search(asked)
    await asyncio.to_thread(search.to_come, settings)
    for prefix in OF_TENANTS:
        async for key, data in records(store, prefix):
            search.note(key.encode() + b" " + data, key.split("/")[1])
    async for _key, data in records(store, LETTERS):
        search.note(data)
        await search.raw(store, data)
    return search.found


class Search:
    """Looks for these objects in whatever it is given."""

    def __init__(self, asked: Set[Object]) -> None:
        self.found = set[Object]()
        self._tenants: defaultdict[str, set[str]] = defaultdict(set)
        for tenant, sha256 in asked:
            self._tenants[sha256].add(tenant)

    def note(self, data: bytes, tenant: str = "") -> None:
        """What is named is referenced, of this tenant or of any."""
        for digest in digests(data):
            tenants = self._tenants.get(digest, set())
            self.found |= {(each, digest) for each in tenants if tenant in ("", each)}

    def to_come(self, settings: Settings) -> None:
        """The submissions, and what flows have handed on."""
        if inbox_of(settings).exists():
            with inbox_of(settings).open("rb") as file:
                for line in file:
                    self.note(line)
        for topic in TO_COME if settings.events else ():
            for message in messages(settings, topic):
                self.note(text_of(message.value or b"", message.headers))

    async def raw(self, store: ObjectStore, data: bytes) -> None:
        """What the message of a dead letter names, which may be too long to stand in it."""
        try:
            letter = DeadLetter.model_validate_json(data)
            raw = await store.read(letter.tenant, letter.raw_object) if letter.raw_object else b""
        except ValidationError:
            return
        except AssetError as error:
            if error.outage:
                raise
            return
        self.note(text_of(raw, {name: text.encode() for name, text in letter.headers.items()}))
