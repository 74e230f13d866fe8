"""Channels: where finished assets are handed out. Here: a folder."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path, PurePosixPath
from uuid import UUID, uuid4

from schemas import ids
from schemas.base import canonical_json
from schemas.errors import AssetError
from schemas.events import PUBLICATION, Publication
from schemas.ports import Bundle, ObjectStore

MANIFEST = "manifest.json"
CURRENT = "current"

_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_PENDING = ".pending-"


class FolderChannel:
    """Publishes to `root/{tenant}/{asset_id}/v{n}/`, with a link `current` that never moves back.

    Guarantee: a version's folder is there whole or not at all, after kill -9 too; publishing a version again
    changes nothing. Files are copies: what a reader does to them cannot reach the object store.
    """

    name = "folder"

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    async def publish(self, bundle: Bundle, store: ObjectStore) -> Publication:
        """Idempotent by asset and manifest version; whole or not at all. Raises channel_unavailable."""
        names = _checked(bundle)
        folder = self._folder(bundle.tenant, bundle.asset_id)
        version = folder / f"v{bundle.manifest_version}"
        with _channel_errors():
            async with _alone(folder):
                await asyncio.to_thread(_clear_pending, folder)
                if not version.exists():
                    await self._write(bundle, names, store, version)
                await asyncio.to_thread(_move_current, folder, bundle.manifest_version)
        return self._receipt(bundle, version)

    async def withdraw(self, asset_id: str, tenant: str) -> None:
        """Removes every version; one that is not there is no error. Raises channel_unavailable."""
        folder = self._folder(tenant, asset_id)
        gone = self._root / f"{_PENDING}{uuid4().hex}"
        with _channel_errors():
            if not folder.exists():
                return
            async with _alone(folder):
                folder.rename(gone)
            await asyncio.to_thread(shutil.rmtree, gone)

    async def _write(self, bundle: Bundle, names: dict[str, PurePosixPath], store: ObjectStore, version: Path) -> None:
        pending = version.parent / f"{_PENDING}{uuid4().hex}"
        pending.mkdir()
        try:
            for name, ref in bundle.files.items():
                target = pending / names[name]
                target.parent.mkdir(parents=True, exist_ok=True)
                async with store.local(bundle.tenant, ref.sha256, pending) as source:
                    await asyncio.to_thread(shutil.copyfile, source, target)
            (pending / MANIFEST).write_bytes(canonical_json(bundle.manifest))
            pending.rename(version)
        except BaseException:
            shutil.rmtree(pending, ignore_errors=True)
            raise

    def _folder(self, tenant: str, asset_id: str) -> Path:
        if not _TENANT.fullmatch(tenant) or str(UUID(asset_id)) != asset_id:
            raise ValueError(f"not a tenant and an asset id: {tenant!r}, {asset_id!r}")
        return self._root / tenant / asset_id

    def _receipt(self, bundle: Bundle, version: Path) -> Publication:
        unique = (self.name, bundle.tenant, bundle.asset_id, bundle.manifest_version, "published")
        return Publication(
            event_id=ids.event_id(PUBLICATION, *unique),
            asset_id=bundle.asset_id,
            job_id=bundle.job_id,
            tenant=bundle.tenant,
            channel=self.name,
            manifest_version=bundle.manifest_version,
            url=version.as_uri(),
            files=len(bundle.files),
            bytes=sum(ref.bytes for ref in bundle.files.values()),
        )


def _checked(bundle: Bundle) -> dict[str, PurePosixPath]:
    """The files' places in the bundle; ValueError for a name that leads out of it or hides the manifest."""
    paths = {name: PurePosixPath(name) for name in bundle.files}
    for name, path in paths.items():
        bad = path.is_absolute() or not path.parts or "\0" in name or path == PurePosixPath(MANIFEST)
        if bad or any(part.startswith(".") for part in path.parts):
            raise ValueError(f"not a name of a file in a bundle: {name!r}")
    if bundle.manifest_version < 1:
        raise ValueError("manifest versions begin at 1")
    return paths


@asynccontextmanager
async def _alone(folder: Path) -> AsyncIterator[None]:
    """Holds the folder's own lock, against other processes too; the kernel frees it when this one dies."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if await _locked(handle) and _is(folder, handle):
                yield
                return
        finally:
            os.close(handle)


async def _locked(handle: int) -> bool:
    # Polled, not waited for: a blocked thread could be the very one that the holder's copy needs.
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            await asyncio.sleep(0.02)


def _is(folder: Path, handle: int) -> bool:
    """Whether the locked folder is still the one at this path: a withdrawal may have taken it away."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _move_current(folder: Path, version: int) -> None:
    link = folder / CURRENT
    if link.is_symlink() and int(link.readlink().name.removeprefix("v")) >= version:
        return
    pending = folder / f"{_PENDING}{uuid4().hex}"
    pending.symlink_to(f"v{version}")
    pending.replace(link)


def _clear_pending(folder: Path) -> None:
    for path in folder.glob(f"{_PENDING}*"):
        path.unlink() if path.is_symlink() else shutil.rmtree(path)


@contextmanager
def _channel_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AssetError("channel_unavailable", error.strerror or type(error).__name__) from error
