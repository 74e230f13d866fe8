"""Publish: hands a registered asset to its pipeline's channels, and logs each receipt in events and lineage."""

from __future__ import annotations

import mimetypes
import time
from typing import Any

from operators.stages.groups import beside
from operators.stages.ingest import original_key
from operators.stages.register import current_manifest
from operators.stages.rows import Row, asset_row, lineage_rows, publication_row
from operators.stages.services import Services
from operators.stages.steps import Step, done, skipped
from schemas.asset import Ref, Work
from schemas.errors import AssetError, State
from schemas.events import Publication
from schemas.manifest import Edge, Manifest
from schemas.outcome import Outcome
from schemas.ports import Bundle

VERSION = "1"
PUBLISHED = frozenset({
    "mezzanine", "audio", "rendition", "wide", "clip", "poster", "page", "captions", "chapters", "subtitles", "preview",
    "text", "hls-master", "hls-playlist", "hls-media",
})  # fmt: skip


async def run(services: Services, work: Work) -> Outcome:
    """Publishes the current manifest's files. Raises unknown_channel, channel_unavailable, object_missing."""
    manifest = await current_manifest(services.store, work.tenant, work.asset_id)
    if manifest is None:
        raise AssetError("object_missing", "the asset has no manifest")
    await settle_original(services, work)
    end = asset_row(work, State.COMPLETED, manifest=manifest)
    if not work.record.request.consent.publish:
        channels = [Step("publish", name, VERSION, (manifest.asset_id,)) for name in work.pipeline.channels]
        runs = [skipped(work, step, "no_consent") for step in channels]
        return Outcome(work.with_steps(*runs), rows=(end,))
    started = time.monotonic()
    receipts = await beside(*(publish(services, name, manifest) for name in work.pipeline.channels))
    rows = [row for receipt in receipts for row in receipt_rows(manifest, receipt)]
    events = tuple(done(services, work, "publish", r.channel, started, r.url) for r in receipts)
    return Outcome(work, events=events, rows=(*rows, end))


async def publish(services: Services, name: str, manifest: Manifest) -> Publication:
    """One channel's receipt; a channel that is not configured is an error of the pipeline's settings."""
    channel = services.channels.get(name)
    if channel is None:
        raise AssetError("unknown_channel", name)
    return await channel.publish(bundle_of(manifest), services.store)


def bundle_of(manifest: Manifest) -> Bundle:
    """The public files by name, and the manifest's public form."""
    files = {
        f"{v.name}{_extension(v.media_type)}": Ref(sha256=v.sha256, bytes=v.bytes, media_type=v.media_type)
        for v in manifest.variants
        if v.role in PUBLISHED
    }
    return Bundle(
        asset_id=manifest.asset_id, job_id=manifest.job_id, tenant=manifest.tenant,
        manifest_version=manifest.version, manifest=public_form(manifest, files), files=files,
    )  # fmt: skip


def public_form(manifest: Manifest, files: dict[str, Ref]) -> dict[str, Any]:
    """What strangers may read. Fields are named one by one, so that tags, EXIF and GPS never slip through."""
    technical = manifest.technical.model_dump(mode="json", exclude={"tags"}, exclude_none=True)
    return {
        "format": "asset-pipeline/bundle/1",
        "asset_id": manifest.asset_id,
        "version": manifest.version,
        "kind": manifest.kind,
        "metadata": manifest.metadata.model_dump(mode="json"),
        "technical": technical,
        "files": {name: ref.model_dump() for name, ref in files.items()},
    }


def _extension(media_type: str) -> str:
    known = {
        "text/vtt": ".vtt", "audio/mp4": ".m4a", "audio/ogg": ".opus", "audio/flac": ".flac", "image/webp": ".webp",
        "image/avif": ".avif", "application/vnd.apple.mpegurl": ".m3u8",
    }  # fmt: skip
    return known.get(media_type) or mimetypes.guess_extension(media_type) or ".bin"


def receipt_rows(manifest: Manifest, receipt: Publication) -> list[Row]:
    """The publication's event row, and its edge in the lineage."""
    edge = Edge(
        source=f"asset:{manifest.asset_id}", target=receipt.url, target_name=f"{receipt.channel} v{manifest.version}",
        stage="publish", step=receipt.channel, version=VERSION,
    )  # fmt: skip
    return [publication_row(receipt, manifest.record.accepted_ms), *lineage_rows(manifest, [edge])]


async def settle_original(services: Services, work: Work) -> None:
    """Keeps, archives or drops the original, as the pipeline says; one that another asset shares is kept."""
    original, policy = work.original, work.pipeline.original
    if original is None or policy == "kept":
        return
    mine = original_key(work.tenant, original.sha256, work.asset_id)
    if await services.store.keys(f"originals/{work.tenant}/{original.sha256}") != [mine]:
        return
    if policy == "dropped":
        await services.store.remove(work.tenant, original.sha256)
    else:
        await services.store.archive(work.tenant, original.sha256)
