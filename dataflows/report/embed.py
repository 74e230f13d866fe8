"""Takes variants out of the object store into the page, within limits."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from schemas.errors import AssetError
from schemas.manifest import Manifest, Variant
from schemas.ports import ObjectStore

MIB = 2**20


@dataclass
class Allowance:
    """How many more bytes may be taken; shared by those that draw on it."""

    left: int

    def has(self, size: int) -> bool:
        """Whether this many bytes are left."""
        return size <= self.left


@dataclass
class Taker:
    """Reads one asset's variants; what is too large or cannot be read is in `missed` with the reason."""

    manifest: Manifest
    store: ObjectStore
    allowances: tuple[Allowance, ...]
    missed: list[tuple[Variant, str]] = field(default_factory=list)

    async def data(self, variant: Variant | None) -> bytes | None:
        """The variant's bytes, or None."""
        if variant is None:
            return None
        if not all(a.has(variant.bytes) for a in self.allowances):
            self.missed.append((variant, "left out: the report's limit for embedded media is reached"))
            return None
        try:
            data = await self.store.read(self.manifest.tenant, variant.sha256)
        except AssetError as error:
            self.missed.append((variant, error.sentence))
            return None
        for allowance in self.allowances:
            allowance.left -= len(data)
        return data

    async def uri(self, variant: Variant | None) -> str:
        """The variant as a data: URI, or "" where it cannot be embedded."""
        data = await self.data(variant)
        return "" if data is None or variant is None else data_uri(data, variant.media_type)

    async def text(self, variant: Variant | None) -> str:
        """The variant as text (UTF-8; what is not becomes U+FFFD), or ""."""
        return (await self.data(variant) or b"").decode("utf-8-sig", "replace")

    def unreadable(self, variant: Variant | None, error: Exception) -> None:
        """Notes that a variant was read but not understood."""
        if variant is not None:
            self.missed.append((variant, f"not shown: {error}"[:200]))


def data_uri(data: bytes, media_type: str) -> str:
    """RFC 2397, base64; an odd media type becomes application/octet-stream."""
    known = media_type.split(";")[0].strip().lower()
    plain = known.isascii() and known.count("/") == 1 and all(c.isalnum() or c in "/+-._" for c in known)
    return f"data:{known if plain else 'application/octet-stream'};base64,{base64.b64encode(data).decode()}"
