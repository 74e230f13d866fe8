"""What stages ask of the outside: protocols, so that no stage knows which server is there."""

from __future__ import annotations

from asyncio import Future
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from schemas.asset import ObjectKind, Ref
from schemas.base import Model
from schemas.chunks import ChunkTask
from schemas.events import Publication


class Stored(NamedTuple):
    """Where an object's bytes lie; `at_ms` is when they were stored, or of the trash, when they were put there."""

    tenant: str
    sha256: str
    bytes: int
    at_ms: int
    key: str


class Parts(NamedTuple):
    """A file that is elsewhere: its size in bytes, and what reads it from `start` up to `end`."""

    size: int
    read: Callable[[int, int], Awaitable[bytes]]


class ObjectStore(Protocol):
    """Objects by content digest within a tenant, and small records that the first writer wins.

    An object's kind decides its storage class and lifecycle, where the store has such; the first writer's stands.
    What reads an object (`local`, `read`, `size`) takes it back out of the trash; `exists` does not look there.
    """

    async def add_file(self, tenant: str, path: Path, media_type: str, kind: ObjectKind = ObjectKind.RENDITION) -> Ref:
        """Stores a file under its SHA-256; storing it again changes nothing. Raises store_unavailable."""

    async def add_bytes(
        self, tenant: str, data: bytes, media_type: str, kind: ObjectKind = ObjectKind.RENDITION
    ) -> Ref:
        """The same for bytes in memory."""

    async def add_stream(
        self,
        tenant: str,
        chunks: AsyncIterable[bytes],
        media_type: str,
        limit: int,
        kind: ObjectKind = ObjectKind.RENDITION,
    ) -> Ref:
        """The same for a stream of unknown length; nothing stays on an error. Raises too_large, empty_file."""

    def local(self, tenant: str, sha256: str, scratch: Path) -> AbstractAsyncContextManager[Path]:
        """The object as a local file to read, for as long as the context lasts. Raises object_missing.

        Where the bytes have to travel, also object_damaged and scratch_full.
        """

    async def read(self, tenant: str, sha256: str) -> bytes:
        """The object's bytes. Raises object_missing, object_damaged."""

    async def read_range(self, tenant: str, sha256: str, start: int, end: int) -> bytes:
        """The object's bytes from `start` up to `end`, unverified. Raises object_missing."""

    async def exists(self, tenant: str, sha256: str) -> bool:
        """Whether the object is there."""

    async def size(self, tenant: str, sha256: str) -> int | None:
        """The object's size in bytes, None if it is not there."""

    async def archive(self, tenant: str, sha256: str) -> None:
        """Moves an object to the archive's storage class; it is read as before. Raises object_missing."""

    async def remove(self, tenant: str, sha256: str) -> None:
        """Removes an object, from the trash too; one that is not there is no error."""

    async def stored(self) -> list[Stored]:
        """The objects of all tenants, as they are listed."""

    async def trashed(self, tenant: str = "", sha256: str = "") -> list[Stored]:
        """What lies in the trash, oldest first: all of it, a tenant's, or one object's."""

    async def discard(self, tenant: str, sha256: str, at_ms: int) -> None:
        """Moves an object to the trash, under a key of its own; one that is not there is no error."""

    async def put_back(self, tenant: str, sha256: str) -> bool:
        """Whether the object is there, copied out of the trash if it was only in there."""

    async def purge(self, trashed: Stored) -> None:
        """Removes this copy in the trash, for good; one that is not there is no error."""

    def url(self, tenant: str, sha256: str) -> str:
        """The object's stable URL."""

    async def signed_url(self, tenant: str, sha256: str, seconds: int) -> str:
        """A URL that gives the object to whoever has it, for so many seconds."""

    async def create(self, key: str, data: bytes) -> bytes:
        """Creates a record only if absent, and returns the one that stands: the first."""

    async def put(self, key: str, data: bytes, media_type: str) -> None:
        """Writes a private file under a record's key, over the one that is there: at any time it is there whole."""

    async def private_url(self, key: str, seconds: int) -> str:
        """A URL that gives a private file to whoever has it, for so many seconds, and that no cache may keep.

        Embedded it is a file's, in a folder that is its owner's alone.
        """

    async def get(self, key: str) -> bytes | None:
        """The record, or None."""

    async def keys(self, prefix: str) -> list[str]:
        """Keys of the records below a prefix, sorted."""

    async def delete(self, key: str) -> None:
        """Deletes a record; one that is not there is no error."""

    async def sweep(self, older_s: float = 86_400.0) -> int:
        """Removes what killed writers left more than `older_s` seconds ago, and returns how many things it was.

        Private files that are a day old go too.
        """

    async def left(self, older_s: float = 86_400.0) -> list[str]:
        """The names of what `sweep` would remove."""


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

    @property
    def words(self) -> str:
        """All that a search by words reads."""
        return "\n".join((self.title, *self.tags, self.text))


class Filter(Model):
    """Which entries a query may find: of any of these kinds, with all of these tags, in this language ("" is any)."""

    kinds: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    language: str = ""


EVERYTHING = Filter()


class Hit(Model):
    """One search result; `score` is higher for better and comparable within one vector space only."""

    asset_id: str
    kind: str
    title: str
    tags: tuple[str, ...] = ()
    moment: str
    start_s: float | None = None
    end_s: float | None = None
    page: int | None = None
    text: str
    score: float
    space: str

    @property
    def words(self) -> str:
        """All that a search by words reads."""
        return "\n".join((self.title, *self.tags, self.text))


class VectorIndex(Protocol):
    """Vectors and filters by vector space; a query names one space and never mixes two.

    For use from one event loop. Every method raises index_unavailable while the index cannot be reached.
    """

    async def put(self, space: str, entries: Sequence[IndexEntry]) -> None:
        """Upserts by id, all of them or it raises. ValueError if the vectors' lengths are not the space's."""

    async def search(
        self, space: str, vector: Sequence[float], *, tenant: str, only: Filter = EVERYTHING, limit: int = 10
    ) -> list[Hit]:
        """Nearest moments by cosine, best first; empty for an unknown space."""

    async def words(self, text: str, *, tenant: str, only: Filter = EVERYTHING, limit: int = 10) -> list[Hit]:
        """Moments whose text, title or tags hold the words, by BM25, best first."""

    async def vectors(self, space: str, asset_id: str, tenant: str) -> list[list[float]]:
        """The asset's vectors in a space, [n, dimension], in order of time or page."""

    async def retire(self, asset_id: str, tenant: str, keep: Sequence[str]) -> None:
        """Removes the asset's entries whose ids are not in `keep`, in every space.

        index_unavailable where one of `keep` is not there: the index was replaced meanwhile, so they are put again.
        """

    async def spaces(self) -> list[str]:
        """The spaces of the index, sorted; one that is named may have no entries any more."""

    async def entries(self) -> tuple[dict[str, str], dict[str, str]]:
        """All entries of all tenants, id -> asset: those that vectors find, and those that words find."""

    async def purge(self) -> None:
        """Takes what was retired off the disk now, where that is not the server's own affair."""

    async def rebuild(self) -> VectorIndex:
        """An empty index beside this one, which nobody sees until `adopt`. What a killed rebuild left is removed."""

    async def adopt(self, rebuilt: VectorIndex) -> None:
        """Everyone who uses this index reads and writes the rebuilt one from now on."""

    async def prune(self) -> None:
        """Removes the index that was replaced."""

    async def close(self) -> None:
        """Ends connections; the next call makes new ones."""


class Spread(Protocol):
    """Processes elsewhere that render chunks."""

    def ask(self, task: ChunkTask) -> AbstractAsyncContextManager[Future[None]]:
        """Asks for a chunk: the future ends with it, and raises the AssetError that it failed with.

        An answer may be lost; the chunk's records say what is done. Raises RuntimeError where nobody can be asked.
        """


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
