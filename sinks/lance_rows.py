"""What the rows of the embedded index look like: tables' names, columns and filters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from lancedb.expr import col, lit

from schemas.ports import Filter, Hit, IndexEntry
from sinks.words import terms

WORDS, SPACE = "words", "space-"
HIT = [name for name in Hit.model_fields if name not in ("score", "space")]

# Lance lets two writers insert the same new id at once unless it knows the key.
_KEY = {"lance-schema:unenforced-primary-key:position": "1"}
_FIELDS = [
    pa.field("id", pa.string(), nullable=False, metadata=_KEY),
    *(pa.field(name, pa.string(), nullable=False) for name in ("asset_id", "tenant", "kind", "moment")),
    pa.field("start_s", pa.float64()),
    pa.field("end_s", pa.float64()),
    pa.field("page", pa.int32()),
    *(pa.field(name, pa.string(), nullable=False) for name in ("title", "language", "text")),
    pa.field("tags", pa.list_(pa.string()), nullable=False),
]


def vector_schema(dimension: int) -> pa.Schema:
    """Columns of a vector space's table."""
    return pa.schema([*_FIELDS, pa.field("vector", pa.list_(pa.float32(), dimension), nullable=False)])


def words_schema() -> pa.Schema:
    """Columns of the table for full-text search."""
    return pa.schema([*_FIELDS, pa.field("space", pa.string(), False), pa.field("words", pa.string(), False)])


def vector_rows(entries: Sequence[IndexEntry], dimension: int) -> pa.Table:
    """Rows of a vector space's table."""
    return pa.Table.from_pylist([entry.model_dump() for entry in entries], schema=vector_schema(dimension))


def words_rows(entries: Sequence[IndexEntry], space: str) -> pa.Table:
    """Rows of the table for full-text search; `words` holds the terms, with a space between them."""
    rows = [
        entry.model_dump(exclude={"vector"}) | {"space": space, "words": " ".join(terms(entry.words))}
        for entry in entries
    ]
    return pa.Table.from_pylist(rows, schema=words_schema())


def of(tenant: str, only: Filter) -> str:
    """The rows of a tenant that a filter lets through, in SQL: expressions have no function for lists."""
    wanted = col("tenant") == tenant
    if only.kinds:
        wanted &= col("kind").isin(list(only.kinds))
    if only.language:
        wanted &= col("language") == only.language
    return " AND ".join([wanted.to_sql(), *(f"array_has(tags, {lit(tag).to_sql()})" for tag in only.tags)])


def hit(row: dict[str, Any], score: float, space: str) -> Hit:
    """The result that a row is."""
    return Hit(**{name: row[name] for name in HIT}, score=score, space=space)


def table_name(space: str) -> str:
    """Reversible: every byte that a table's name may not hold, and the dot, becomes `.xx` in hexadecimal."""
    escaped = re.sub(rb"[^A-Za-z0-9_-]", lambda match: b".%02x" % match[0][0], space.encode()).decode()
    if not 0 < len(escaped) <= 200:
        raise ValueError(f"a vector space's id of {len(escaped)} characters")
    return SPACE + escaped


def space_of(name: str) -> str:
    """The vector space of a table."""
    return unquote(name.removeprefix(SPACE).replace(".", "%"))
