"""What people and searches see of an asset: declared, else said by the file itself, else found by enrich."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from operators.media.words import Words, merged
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
    """What the file says of itself: tags of audio and video, an image's words and its sidecar's, a document's."""
    technical = work.technical
    tags: dict[str, Any] = {k.lower(): v for k, v in (technical.tags if technical else {}).items()}
    found = asdict(words(work))
    if technical and (document := technical.document):
        found = {"title": document.title, "description": document.description, "keywords": document.keywords}
    if technical and (template := technical.template):
        found = {"title": template.name, "description": template.description, "keywords": template.keywords}
    return tags | {k: v for k, v in found.items() if v}


def words(work: Work) -> Words:
    """An image's words, those of an XMP file beside it first."""
    embedded, beside = (_words(work, step) for step in ("validate.integrity", "derive.sidecar"))
    return merged(embedded, beside)


def _words(work: Work, name: str) -> Words:
    step = work.step(name)
    found = (step.values.get("words") if step else None) or {}
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    return Words(**fields)


def _stem(work: Work) -> str:
    return PurePosixPath(work.record.request.source.name).stem
