"""What a topic carries: messages as they were read, and records to be written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pydantic import ValidationError

Headers = Mapping[str, bytes]

CONTENT_TYPE: Final = "content-type"
JSON: Final = "application/json"


class Message(NamedTuple):
    """A message as it was read. `value` is None for a tombstone; of headers of one name the last counts.

    A header without a value (Kafka has those) is left out.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Record(NamedTuple):
    """A message to be written. Records of one key keep their order, and lie in one partition."""

    topic: str
    key: str
    value: bytes
    headers: Headers


def media_type(headers: Headers) -> str:
    """The content type without its parameters, in lower case; "" where there is none."""
    return headers.get(CONTENT_TYPE, b"").partition(b";")[0].strip().lower().decode("ascii", "replace")


def refused(where: str, what: object) -> ValueError:
    """Why a message is not read, in a line: names of fields and content types are the sender's own, of any length."""
    return ValueError(f"{where[:100]}: {str(what)[:200]}")


def refused_model(error: ValidationError) -> ValueError:
    """The same of what a model says: the first field that is wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    return refused(".".join(map(str, first["loc"])) or "value", first["msg"])
