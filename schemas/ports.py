"""What stages ask of the outside: protocols, so that no stage knows which server is there."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from schemas.asset import Ref
from schemas.base import Model
from schemas.events import Publication


class ObjectStore(Protocol):
    """Objects by content digest within a tenant, and small records that the first writer wins."""

    async def add_file(self, tenant: str, path: Path, media_type: str) -> Ref:
        """Stores a file under its SHA-256; storing it again changes nothing. Raises store_unavailable."""

    async def add_bytes(self, tenant: str, data: bytes, media_type: str) -> Ref:
        """The same for bytes in memory."""

    async def add_stream(self, tenant: str, chunks: AsyncIterable[bytes], media_type: str, limit: int) -> Ref:
        """The same for a stream of unknown length; nothing stays on an error. Raises too_large, empty_file."""

    def local(self, tenant: str, sha256: str, scratch: Path) -> AbstractAsyncContextManager[Path]:
        """The object as a local file to read, for as long as the context lasts. Raises object_missing."""

    async def read(self, tenant: str, sha256: str) -> bytes:
        """The object's bytes. Raises object_missing."""

    async def exists(self, tenant: str, sha256: str) -> bool:
        """Whether the object is there."""

    async def archive(self, tenant: str, sha256: str) -> None:
        """Moves an object to the archive's storage class; it is read as before."""

    async def remove(self, tenant: str, sha256: str) -> None:
        """Removes an object; one that is not there is no error."""

    def url(self, tenant: str, sha256: str) -> str:
        """The object's stable URL."""

    async def create(self, key: str, data: bytes) -> bytes:
        """Creates a record only if absent, and returns the one that stands: the first."""

    async def get(self, key: str) -> bytes | None:
        """The record, or None."""

    async def keys(self, prefix: str) -> list[str]:
        """Keys of the records below a prefix, sorted."""

    async def delete(self, key: str) -> None:
        """Deletes a record; one that is not there is no error."""


class IndexEntry(Model):
    """One searchable moment of an asset in one vector space.

    `moment` is "" for the whole asset, else "12.000-14.000" (seconds) or "page-3"; `vector` is L2-normalised.
    """

    id: str
    asset_id: str
    tenant: str
    kind: str
    moment: str = ""
    start_s: float | None = None
    end_s: float | None = None
    page: int | None = None
    title: str = ""
    tags: tuple[str, ...] = ()
    language: str = ""
    text: str = ""
    vector: tuple[float, ...]


class Hit(Model):
    """One search result; `score` is higher for better and comparable within one vector space only."""

    asset_id: str
    kind: str
    title: str
    moment: str
    start_s: float | None = None
    end_s: float | None = None
    page: int | None = None
    text: str
    score: float
    space: str


class VectorIndex(Protocol):
    """Vectors and filters by vector space; a query names one space and never mixes two."""

    async def put(self, space: str, entries: Sequence[IndexEntry]) -> None:
        """Upserts by id. Raises index_unavailable."""

    async def search(
        self, space: str, vector: Sequence[float], *, tenant: str, kinds: Sequence[str] = (), limit: int = 10
    ) -> list[Hit]:
        """Nearest moments by cosine, best first; empty for an unknown space."""

    async def words(self, text: str, *, tenant: str, kinds: Sequence[str] = (), limit: int = 10) -> list[Hit]:
        """Moments whose text, title or tags hold the words, by BM25, best first."""

    async def vectors(self, space: str, asset_id: str, tenant: str) -> list[list[float]]:
        """The asset's vectors in a space, [n, dimension]."""

    async def retire(self, asset_id: str, tenant: str, keep: Sequence[str]) -> None:
        """Removes the asset's entries whose ids are not in `keep`, in every space."""

    async def spaces(self) -> list[str]:
        """The spaces that have entries."""


class Bundle(Model):
    """What a channel gets: the manifest's public form and the files by their name in the bundle."""

    asset_id: str
    job_id: str
    tenant: str
    manifest_version: int
    manifest: dict[str, Any]
    files: dict[str, Ref]


class Channel(Protocol):
    """Somewhere that assets are published."""

    name: str

    async def publish(self, bundle: Bundle, store: ObjectStore) -> Publication:
        """Idempotent by asset and manifest version; whole or not at all. Raises channel_unavailable."""

    async def withdraw(self, asset_id: str, tenant: str) -> None:
        """Removes every version; one that is not there is no error."""
