"""What people and searches see of an asset: declared, else said by the file itself, else found by enrich."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from schemas.asset import Work
from schemas.manifest import Metadata


def metadata_of(work: Work) -> Metadata:
    """Declared metadata first, then the file's own tags, then what enrich found."""
    declared, own = work.record.request.declared, own_words(work)
    labels, language = work.step("enrich.labels"), work.step("enrich.language")
    return Metadata(
        title=declared.title or own.get("title") or _stem(work),
        description=declared.description or own.get("description") or own.get("comment") or "",
        tags=declared.tags or tuple(own.get("keywords", ())),
        labels=tuple(x["name"] for x in labels.values.get("labels", ())) if labels else (),
        language=declared.language or (language.values.get("language") or "" if language else ""),
    )


def own_words(work: Work) -> dict[str, Any]:
    """What the file says of itself: tags of audio and video, IPTC and EXIF of an image, what a document tells."""
    technical = work.technical
    tags: dict[str, Any] = {k.lower(): v for k, v in (technical.tags if technical else {}).items()}
    checked = work.step("validate.integrity")
    iptc, exif = ((checked.values.get(name) or {}) if checked else {} for name in ("iptc", "exif"))
    found = {
        "title": iptc.get("title") or iptc.get("headline"),
        "description": iptc.get("caption") or exif.get("ImageDescription"),
        "keywords": iptc.get("keywords"),
    }
    if technical and (document := technical.document):
        found = {"title": document.title, "description": document.description, "keywords": document.keywords}
    if technical and (template := technical.template):
        found = {"title": template.name, "description": template.description, "keywords": template.keywords}
    return tags | {k: v for k, v in found.items() if v}


def _stem(work: Work) -> str:
    return PurePosixPath(work.record.request.source.name).stem
