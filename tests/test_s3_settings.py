"""The S3 service is settings: nothing is connected to, and nothing but settings decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import obstore
import pytest
from pydantic import ValidationError

from dataflows.connections import account_of, ensure_buckets, objects_of
from schemas.asset import ObjectKind
from schemas.settings import Settings
from sinks.objects import Objects
from sinks.s3 import S3Objects

SHA = "ab" * 32
KEY = f"pre/fix/objects/t/ab/{SHA}"
SERVICES = {
    "AWS": (
        {"s3_endpoint": "", "s3_region": "eu-west-1"},
        f"https://media.s3.eu-west-1.amazonaws.com/{KEY}",
        "eu-west-1",
    ),
    "Cloudflare R2": (
        {"s3_endpoint": "https://account.r2.cloudflarestorage.com", "s3_region": "auto", "s3_tags": False},
        f"https://account.r2.cloudflarestorage.com/media/{KEY}",
        "auto",
    ),
    "Supabase Storage": (
        {"s3_endpoint": "https://project.supabase.co/storage/v1/s3", "s3_region": "eu-central-1", "s3_tags": False},
        f"https://project.supabase.co/storage/v1/s3/media/{KEY}",
        "eu-central-1",
    ),
}


def store_of(**fields: object) -> S3Objects:
    settings = Settings(objects="s3://media/pre/fix", s3_access_key="key", s3_secret_key="secret", **fields)
    store = objects_of(settings)
    assert isinstance(store, S3Objects)
    return store


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_settings(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both clients sign for the service's endpoint, addressing and region with its keys, whatever the environment."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://elsewhere.example")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "elsewhere")
    fields, expected, region = SERVICES[service]
    store = store_of(**fields)
    by_s3fs = asyncio.run(store.signed_url("t", SHA, 60))
    by_obstore = obstore.sign(store._store, "GET", KEY.removeprefix("pre/fix/"), timedelta(seconds=60))
    for signed in (by_s3fs, by_obstore):
        assert signed.partition("?")[0] == expected
        query = parse_qs(urlsplit(signed).query)
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        key, _day, signed_region, *_rest = query["X-Amz-Credential"][0].split("/")
        assert (key, signed_region) == ("key", region)
        assert "X-Amz-Security-Token" not in query


def test_policies_are_settings() -> None:
    """Storage classes by kind, the archive's class, tags and the public base of URLs come from settings."""
    store = store_of(
        s3_storage_classes={"original": "STANDARD_IA"}, s3_archive_class="GLACIER_IR", s3_tags=False,
        public_url="https://cdn.example",
    )  # fmt: skip
    policy = store._policy
    assert policy.storage_classes == {ObjectKind.ORIGINAL: "STANDARD_IA"}
    assert (policy.archive_class, policy.tags) == ("GLACIER_IR", False)
    assert store.url("t", SHA) == f"https://cdn.example/objects/t/ab/{SHA}"


def test_kinds_are_checked_with_the_settings() -> None:
    """A storage class for a kind that does not exist is an error at the start."""
    with pytest.raises(ValidationError, match="s3_storage_classes"):
        Settings(s3_storage_classes={"thumbnail": "STANDARD_IA"})


def test_the_default_is_embedded(tmp_path: Path) -> None:
    """Without a setting objects lie in a folder, and a signed URL is the file's."""
    store = objects_of(Settings(out=tmp_path))
    assert isinstance(store, Objects)
    assert asyncio.run(store.signed_url("t", SHA, 60)) == (tmp_path / "store" / f"objects/t/ab/{SHA}").as_uri()


def test_secrets_are_not_shown() -> None:
    """An account that is printed shows no secret."""
    settings = Settings(s3_access_key="key", s3_secret_key="hidden")
    assert "hidden" not in repr(account_of(settings))


@pytest.mark.parametrize(
    ("role", "kind"),
    [
        ("original", ObjectKind.ORIGINAL), ("poster", ObjectKind.PREVIEW), ("storyboard", ObjectKind.PREVIEW),
        ("storyboard-map", ObjectKind.PREVIEW), ("waveform", ObjectKind.PREVIEW), ("preview", ObjectKind.PREVIEW),
        ("mezzanine", ObjectKind.RENDITION), ("rendition", ObjectKind.RENDITION), ("chunk", ObjectKind.RENDITION),
        ("vectors", ObjectKind.RENDITION),
    ],
)  # fmt: skip
def test_roles_have_kinds(role: str, kind: ObjectKind) -> None:
    """What people look at before the asset itself is a preview; parts are kept as the rendition that they end in."""
    assert ObjectKind.of(role) == kind


@asynccontextmanager
async def forgetful() -> AsyncIterator[str]:
    """An S3 that says yes to everything, and so keeps the last of two records."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_a_store_that_forgets_the_first_record_is_refused() -> None:
    """Claims need create-if-absent, so a service that ignores it is named when the buckets are made."""

    async def run() -> None:
        async with forgetful() as endpoint:
            keys = {"s3_access_key": "key", "s3_secret_key": "secret"}
            await ensure_buckets(Settings(objects="s3://media/x", s3_endpoint=endpoint, **keys))

    with pytest.raises(ValueError, match="media ignores If-None-Match"):
        asyncio.run(run())
