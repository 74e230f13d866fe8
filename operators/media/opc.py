"""Open Packaging Conventions (ISO/IEC 29500-2): how the parts of an Office Open XML file refer to each other."""

from __future__ import annotations

import posixpath
from typing import NamedTuple
from urllib.parse import unquote

from operators.media.packages import Package, local
from operators.media.pages import Document, known
from schemas.errors import AssetError
from schemas.technical import Unit

_PICTURES = (".jpeg", ".jpg", ".png")
_MOST_PICTURE = 32 * 2**20


class Related(NamedTuple):
    """A relationship within the package: its id, the last word of its type, and the part that it names."""

    id: str
    kind: str
    target: str


def related(package: Package, part: str = "") -> list[Related]:
    """The relationships of a part, or of the whole package; those that lead out of the file are left out."""
    folder, name = posixpath.split(part)
    rels = posixpath.join(folder, "_rels", f"{name}.rels")
    if rels not in package.names:
        return []
    return [
        Related(e.get("Id", ""), e.get("Type", "").rpartition("/")[2], _resolved(folder, e.get("Target", "")))
        for e in package.xml(rels)
        if e.get("TargetMode") != "External"
    ]


def _resolved(folder: str, target: str) -> str:
    return posixpath.normpath(posixpath.join("/", folder, unquote(target))).lstrip("/")


def main(package: Package) -> str:
    """The part that the package is about. Raises corrupt_document."""
    found = next((r.target for r in related(package) if r.kind == "officeDocument"), None)
    if found is None:
        raise AssetError("corrupt_document", "it does not say which of its parts is the document")
    return found


def described(package: Package, name: str, unit: Unit, pages: int, hidden: int = 0) -> Document:
    """The document with what its core properties (Dublin Core) say."""
    part = next((r.target for r in related(package) if r.kind == "core-properties"), "")
    facts = {local(e.tag): known(e.text) for e in package.xml(part)} if part in package.names else {}
    return Document(
        format=name, version=None, pages=pages, title=facts.get("title"), author=facts.get("creator"),
        subject=facts.get("description") or facts.get("subject"), keywords=facts.get("keywords"),
        created=facts.get("created"), encrypted=False, unit=unit, language=facts.get("language"), hidden=hidden,
        macros=any(name.endswith("/vbaProject.bin") for name in package.names),
    )  # fmt: skip


def picture(package: Package) -> bytes | None:
    """The small picture of its first page that the writing program may have left, if it is one of pixels."""
    part = next((r.target for r in related(package) if r.kind == "thumbnail"), "")
    if part not in package.names or not part.lower().endswith(_PICTURES):
        return None
    data = package.read(part)
    return data if len(data) <= _MOST_PICTURE else None
