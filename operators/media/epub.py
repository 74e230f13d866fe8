"""EPUB books (ISO/IEC 23736, EPUB 2 and 3): text by chapter in the order of the spine, and the cover's picture."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from operators.media.html import words
from operators.media.packages import Package, local
from operators.media.pages import Document, PageText, Read, bounded_pages, clean, known
from schemas.errors import AssetError
from schemas.pipelines import Limits

_CHAPTERS = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
# fonts alone may be obfuscated; anything else is copy protection
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_MOST_PICTURE = 64 * 2**20


def read_epub(package: Package, limits: Limits) -> Read:
    """The book. Raises encrypted_document for one with copy protection."""
    _unprotected(package)
    part = _root_file(package)
    root = package.xml(part)
    items = {e.get("id", ""): e for e in root.iter() if local(e.tag) == "item"}
    spine = [items.get(e.get("idref", "")) for e in root.iter() if local(e.tag) == "itemref"]
    chapters = [item for item in spine if item is not None and item.get("media-type") in _CHAPTERS]
    if not chapters:
        raise AssetError("corrupt_document", "it has no chapters")
    bounded_pages(len(chapters), limits)
    pages = tuple(_chapter(package, _beside(part, item), number) for number, item in enumerate(chapters, 1))
    return Read(_described(root, len(pages)), pages, _cover(package, part, root, items))


def _unprotected(package: Package) -> None:
    name = "META-INF/encryption.xml"
    if name not in package.names:
        return
    methods = {e.get("Algorithm") for e in package.xml(name).iter() if local(e.tag) == "EncryptionMethod"}
    if methods - set(_FONTS):
        raise AssetError("encrypted_document", "it has copy protection")


def _root_file(package: Package) -> str:
    container = package.xml("META-INF/container.xml")
    found = next((e.get("full-path", "") for e in container.iter() if local(e.tag) == "rootfile"), "")
    if not found:
        raise AssetError("corrupt_document", "it does not name its package document")
    return found


def _beside(part: str, item: Element) -> str:
    """The part that an item of the manifest names."""
    path = posixpath.join("/", posixpath.dirname(part), unquote(item.get("href", "").partition("#")[0]))
    return posixpath.normpath(path).lstrip("/")


def _chapter(package: Package, part: str, number: int) -> PageText:
    text, name = words(_decoded(package.read(part)))
    return PageText(number, clean(text), name=name)


def _decoded(data: bytes) -> str:
    """XHTML in EPUB is UTF-8, or UTF-16 with its mark."""
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", errors="replace")


def _described(root: Element, chapters: int) -> Document:
    metadata = [e for above in root if local(above.tag) == "metadata" for e in above]
    facts: dict[str, list[str]] = {}
    for element in metadata:
        if text := known(element.text):
            facts.setdefault(local(element.tag), []).append(text)
    first = {key: values[0] for key, values in facts.items()}
    return Document(
        format="EPUB", version=root.get("version"), pages=chapters, title=first.get("title"),
        author=known(", ".join(facts.get("creator", ()))), subject=first.get("description"),
        keywords=known(", ".join(facts.get("subject", ()))), created=first.get("date"), encrypted=False,
        unit="chapter", language=first.get("language"),
    )  # fmt: skip


def _cover(package: Package, part: str, root: Element, items: dict[str, Element]) -> bytes | None:
    """EPUB 3 marks the item, EPUB 2 names it in a `meta`."""
    marked = next((i for i in items.values() if "cover-image" in i.get("properties", "").split()), None)
    named = next((e.get("content", "") for e in root.iter() if local(e.tag) == "meta" and e.get("name") == "cover"), "")
    item = marked if marked is not None else items.get(named)
    if item is None or item.get("media-type") not in _PICTURES:
        return None
    name = _beside(part, item)
    data = package.read(name) if name in package.names else b""
    return data if 0 < len(data) <= _MOST_PICTURE else None
