"""Work between flows: several as one Arrow record batch, a single one as JSON. Each message names its schema.

A schema is named by its fingerprint. Those that any version of this program wrote are kept in
`documents/work-schemas.json`, so that an older version's messages are read, and a newer one's are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
from pydantic import ValidationError

from schemas.arrow import JSON as JSON_TEXT
from schemas.arrow import arrow_schema, batch_of, rows_of
from schemas.asset import Work
from schemas.base import canonical_json
from schemas.messages import CONTENT_TYPE, JSON, Headers, Message, media_type, refused, refused_model

ARROW: Final = "application/vnd.apache.arrow.stream"
SCHEMA, VERSION = "schema", "schema-version"
KNOWN = Path(__file__).parent / "documents" / "work-schemas.json"

WORK: Final = arrow_schema(Work)


def columns(schema: pa.Schema) -> dict[str, str]:
    """A schema's fields in order, by path ("steps[].result.state"), each with its type; "?" where it may be null."""
    return {path: kind for field in schema for path, kind in _columns(field, field.name)}


def _columns(field: pa.Field, path: str) -> Iterator[tuple[str, str]]:
    kind, null = field.type, "?" if field.nullable else ""
    if pa.types.is_struct(kind):
        yield path, f"struct{null}"
        for child in kind:
            yield from _columns(child, f"{path}.{child.name}")
    elif pa.types.is_list(kind):
        yield path, f"list{null}"
        yield from _columns(kind.value_field, f"{path}[]")
    else:
        yield path, f"{'json' if field.metadata == JSON_TEXT else kind}{null}"


def fingerprint(schema: pa.Schema) -> str:
    """Changes with any field's name, place, type or nullability, and with nothing else."""
    return hashlib.sha256(canonical_json(list(columns(schema).items()))).hexdigest()[:16]


def known_schemas() -> list[dict[str, Any]]:
    """Every schema of works that was ever written, in the order of their versions; this program's is one of them."""
    known = json.loads(KNOWN.read_text()) if KNOWN.exists() else []
    current = fingerprint(WORK)
    if any(entry["fingerprint"] == current for entry in known):
        return known
    return [*known, {"version": len(known) + 1, "fingerprint": current, "columns": columns(WORK)}]


_CURRENT: Final = fingerprint(WORK)
_VERSIONS: Final = {entry["fingerprint"]: entry["version"] for entry in known_schemas()}


def encode_works(items: Sequence[tuple[str, Work]]) -> tuple[bytes, Headers]:
    """A message's value and headers for these works. Raises ValueError for none."""
    if not items:
        raise ValueError("no works to encode")
    works = [work for _key, work in items]
    if len(works) == 1:
        return works[0].model_dump_json().encode(), _headers(JSON)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, WORK) as writer:
        writer.write_batch(batch_of([work.model_dump() for work in works], WORK))
    return sink.getvalue().to_pybytes(), _headers(ARROW)


def _headers(kind: str) -> Headers:
    return {CONTENT_TYPE: kind.encode(), SCHEMA: _CURRENT.encode(), VERSION: str(_VERSIONS[_CURRENT]).encode()}


def decode_works(message: Message) -> list[Work]:
    """The works of a message; fields that an older schema has not are their defaults.

    Raises ValueError for an unknown schema, which a newer version writes, and for what is damaged.
    """
    named = message.headers.get(SCHEMA, b"").decode("ascii", "replace")
    if named not in _VERSIONS:
        version = message.headers.get(VERSION, b"").decode("ascii", "replace")
        raise refused(SCHEMA, f"unknown schema {named[:32]!r}, version {version[:32]!r}; known up to {len(_VERSIONS)}")
    if message.value is None:
        raise ValueError("no value: a tombstone is no work")
    try:
        return _decoded(media_type(message.headers), named, message.value)
    except ValidationError as error:
        raise refused_model(error) from None
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise refused("value", error) from None


def _decoded(kind: str, named: str, value: bytes) -> list[Work]:
    # an older version's messages may have fields that are no more
    extra: Literal["ignore"] | None = None if named == _CURRENT else "ignore"
    if kind == JSON:
        return [Work.model_validate_json(value, extra=extra)]
    if kind != ARROW:
        raise ValueError(f"works do not come as {kind!r}")
    works = [Work.model_validate(row, extra=extra) for row in _rows(value, named)]
    if not works:
        raise ValueError("the batch is missing")
    return works


def _rows(value: bytes, named: str) -> Iterator[dict[str, Any]]:
    with pa.ipc.open_stream(value) as reader:
        found = _CURRENT if reader.schema.equals(WORK, check_metadata=True) else fingerprint(reader.schema)
        if found != named:
            raise ValueError("the schema is not the one that the header names")
        for batch in reader:
            yield from rows_of(batch)
