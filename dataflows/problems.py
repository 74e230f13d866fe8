"""What a verification reads of manifests, and what it may find wrong."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from dataflows.tombstones import Tombstones
from schemas.base import Model

SENTENCES = {
    "object_changed": "The bytes are not those that the name stands for; restore the object, or delete the asset.",
    "object_missing": "A manifest or result names the object, and it is gone; restore it, or submit the file again.",
    "object_unreadable": "The object cannot be read; check the disk.",
    "result_unreadable": "The result's record cannot be read; delete it, and the step is done again.",
    "manifest_unreadable": "The manifest cannot be read; restore it.",
    "manifest_gap": "A version is missing between others; restore it.",
    "index_missing": "The manifest names moments that the index does not have; submit the asset again.",
    "index_extra": "The index has moments that no current manifest names; run again, or delete the asset.",
    "row_doubled": "A row is there more than once.",
    "row_missing": "The manifest has what the table does not; run again to finish the asset.",
    "row_extra": "The table has rows of an asset or a version without a manifest.",
    "row_differs": "The table and the manifest say different things.",
    "publication_missing": "A receipt says that the version was published, and its folder is gone; publish it again.",
    "publication_changed": "The published files are not those of their manifest; remove the folder and publish again.",
    "publication_extra": "A folder is published of which there is no manifest; remove it.",
    "left_over": "An ended process left this more than a day ago; the next run removes it.",
    "deletion_unfinished": "The asset was deleted, but something of it is still there; delete it again.",
}  # fmt: skip


class Problem(Model):
    """One thing that is not as it should be; `subject` says where."""

    code: str
    subject: str
    message: str


@dataclass(frozen=True)
class Version:
    """What of a manifest the checks need."""

    tenant: str
    asset_id: str
    number: int
    job_id: str
    index: frozenset[str]
    variants: dict[str, str]
    edges: frozenset[str]
    steps: frozenset[tuple[str, str, str]]


@dataclass
class Kept:
    """All that is kept, read once. `named` are (tenant, digest); `dropped` those that a pipeline's policy removed."""

    versions: dict[tuple[str, int], Version] = field(default_factory=dict)
    named: set[tuple[str, str]] = field(default_factory=set)
    dropped: set[tuple[str, str]] = field(default_factory=set)
    tombstones: Tombstones = field(default_factory=Tombstones)

    def current(self) -> dict[str, Version]:
        """The newest version of each asset."""
        return {asset: version for (asset, _), version in sorted(self.versions.items())}


def problem(code: str, subject: object, detail: str = "") -> Problem:
    """With the code's sentence, and what was seen."""
    return Problem(code=code, subject=str(subject), message=SENTENCES[code] + (f" ({detail})" if detail else ""))


def digest_of(path: Path) -> tuple[str, int]:
    """A file's SHA-256 (hex) and its bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
