"""Identifiers: each a pure function of what it names, so that a replay makes the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID
from zlib import crc32

import msgspec

from schemas.base import canonical_json

NAMESPACE = UUID("6f1c6f0e-0d0b-5a38-9d5c-0f3d5b8c7a11")
SHARDS = 128

_NAMESPACE = NAMESPACE.bytes
_flat_json = msgspec.json.encode
# the digit that holds RFC 9562's variant, by the hash's own
_VARIANT = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}


def _uuid5(name: str) -> str:
    """The text of `uuid.uuid5` under our namespace in a third of its time: every message asks for an asset's id."""
    h = hashlib.sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"


def digest(*parts: Any) -> str:
    """SHA-256 (hex) of the parts' canonical JSON."""
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def asset_id(tenant: str, idempotency_key: str) -> str:
    """UUIDv5 of tenant and idempotency key."""
    return _uuid5(f"asset\0{tenant}\0{idempotency_key}")


def job_id(asset: str, pipeline_fingerprint: str) -> str:
    """UUIDv5 of one processing of an asset under one version of a pipeline."""
    return _uuid5(f"job\0{asset}\0{pipeline_fingerprint}")


def event_id(*parts: str | int) -> str:
    """UUIDv5 of an event's kind and what makes it unique."""
    return _uuid5(f"event\0{_flat_json(parts).decode()}")


def result_id(tenant: str, inputs: Sequence[str], stage: str, step: str, version: str, params: dict[str, Any]) -> str:
    """SHA-256 (hex) of all that decides a step's result; inputs are content digests, in order."""
    return digest("result", tenant, list(inputs), stage, step, version, params)


def index_id(asset: str, space: str, moment: str) -> str:
    """UUIDv5 of an asset's moment (a time range, a page, or "") in a vector space."""
    return _uuid5(f"index\0{asset}\0{space}\0{moment}")


def row_id(accepted_ms: int, table: str, *parts: Any) -> str:
    """A table row's id; it begins with the asset's ingest time, so that file statistics find a possible double."""
    return f"{accepted_ms:013d}-{digest(table, *parts)[:32]}"


def shard_of(key: str, shards: int = SHARDS) -> str:
    """The state shard of a key, one of a fixed set (crc32 spreads evenly where adler32 does not)."""
    return f"{crc32(key.encode()) % shards:03d}"
