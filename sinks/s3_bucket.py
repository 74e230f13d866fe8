"""A bucket of an S3 service, by s3fs for bytes and by obstore for records. Which service it is, is settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from aiohttp import ClientError
from botocore.exceptions import BotoCoreError
from botocore.parsers import ResponseParserError
from obstore.store import S3Store
from s3fs import S3FileSystem

from schemas.errors import AssetError
from sinks.records import TEMPORARY

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config, S3Credential, S3CredentialProvider

ATTEMPTS = 2  # stages try again by themselves


@dataclass(frozen=True)
class Account:
    """An S3 service and who uses it; timeouts in seconds.

    Without an `endpoint` it is AWS; a service with one is asked with the bucket in the path. Without keys, those of
    the machine are used.
    """

    endpoint: str = ""
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    connect_s: float = 5.0
    read_s: float = 60.0


Mine = tuple[asyncio.AbstractEventLoop, Account]
# kept here, since a session that a bucket alone refers to may be dropped before its loop has closed it
_sessions: dict[Mine, tuple[AsyncGenerator[Any, None], Any]] = {}


class NotThere(AssetError):
    """The key is not there; where that is not expected, an error of the store."""


class AlreadyThere(AssetError):
    """The key was to be created, and is there; where that is not expected, an error of the store."""


_MEANT = {
    "404": NotThere, "NoSuchKey": NotThere,
    "PreconditionFailed": AlreadyThere, "BucketAlreadyOwnedByYou": AlreadyThere,
}  # fmt: skip


class Bucket:
    """A bucket below a prefix (`s3://bucket/prefix`); keys are relative to it. Every loop has its own sessions."""

    def __init__(self, url: str, account: Account) -> None:
        parts = urlsplit(url)
        self.name, self._below, self._account = parts.netloc, f"{parts.path.strip('/')}/".lstrip("/"), account

    async def call(self, method: str, key: str = "", **parameters: Any) -> dict[str, Any]:
        """A request of S3's API. Raises NotThere, AlreadyThere, store_unavailable."""
        named = {"Key": self._below + key} if key else {}
        session = await self._session()
        with _errors(method.replace("_", " ")):
            return dict(await session._call_s3(method, Bucket=self.name, **named, **parameters))

    async def read(self, key: str, start: int, end: int) -> bytes:
        """The object's bytes from `start` up to `end`."""
        answer = await self.call("get_object", key, Range=f"bytes={start}-{end - 1}")
        with _errors("read object"):
            async with answer["Body"] as body:
                return bytes(await body.read())

    def copy_source(self, key: str) -> dict[str, str]:
        """What a copying request names its source by."""
        return {"Bucket": self.name, "Key": self._below + key}

    async def signed_url(self, key: str, seconds: int) -> str:
        """A URL that gives the object to whoever has it, for so long (SigV4), and that no cache may keep."""
        client = await (await self._session()).set_session()
        asked = {"Bucket": self.name, "Key": self._below + key, "ResponseCacheControl": "no-store"}
        return str(await client.generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds))

    async def uploads(self) -> AsyncIterator[tuple[str, str, datetime]]:
        """Multipart uploads that are neither completed nor aborted: key, upload id, and when each was begun.

        Of several for one key at the end of a page (1,000), the later ones are left for another time: pages are turned
        by key alone, since versitygw refuses its own marker of an upload.
        """
        page: dict[str, Any] = {"IsTruncated": True, "NextKeyMarker": ""}
        while page["IsTruncated"]:
            page = await self.call("list_multipart_uploads", Prefix=self._below, KeyMarker=page["NextKeyMarker"])
            for found in page.get("Uploads", ()):
                yield found["Key"].removeprefix(self._below), found["UploadId"], found["Initiated"]

    async def ensure(self) -> None:
        """Creates the bucket if it is not there. Raises ValueError if it does not keep the first of two records."""
        try:
            await self.call("head_bucket")
        except NotThere:
            with suppress(AlreadyThere):
                await self.call("create_bucket")
        probe = f"{TEMPORARY}/{uuid4().hex}"
        try:
            for data in (b"first", b"second"):
                await self.call("put_object", probe, Body=data, IfNoneMatch="*")
        except AlreadyThere:
            return
        finally:
            await self.call("delete_object", probe)
        raise ValueError(f"s3://{self.name} ignores If-None-Match, so the first record would not stand")

    def records(self) -> S3Store:
        """obstore's client of the same bucket, with the same account."""
        account = self._account
        config: S3Config = {
            # always given, and by this name: else the environment's would be taken
            "aws_endpoint_url_s3": account.endpoint or f"https://{self.name}.s3.{account.region}.amazonaws.com",
            "virtual_hosted_style_request": not account.endpoint, "region": account.region,
            "conditional_put": "etag", "disable_bulk_delete": True,
        }  # fmt: skip
        options: ClientConfig = {
            "connect_timeout": timedelta(seconds=account.connect_s), "read_timeout": timedelta(seconds=account.read_s),
            "timeout": timedelta(seconds=10 * account.read_s), "allow_http": account.endpoint.startswith("http:"),
        }  # fmt: skip
        return S3Store(
            self.name, prefix=self._below.rstrip("/") or None, config=config, client_options=options,
            retry_config={"max_retries": ATTEMPTS - 1}, credential_provider=_keys(account),
        )  # fmt: skip

    async def _session(self) -> Any:
        mine = asyncio.get_running_loop(), self._account
        if mine not in _sessions:
            living = _living(mine)
            _sessions[mine] = living, await anext(living)
        return _sessions[mine][1]


async def _living(mine: Mine) -> AsyncGenerator[Any, None]:
    """A session that ends with its loop: `asyncio.run` closes open generators before it closes the loop."""
    session = _file_system(mine[1])
    try:
        yield session
    finally:
        del _sessions[mine]
        await (await session.set_session()).close()


def _keys(account: Account) -> S3CredentialProvider | None:
    """The account's own, as a whole: obstore would add the environment's session token to keys that it is told."""
    if not account.access_key:
        return None
    keys: S3Credential = {
        "access_key_id": account.access_key, "secret_access_key": account.secret_key, "token": None, "expires_at": None
    }  # fmt: skip
    return lambda: keys


def _file_system(account: Account) -> S3FileSystem:
    config = {
        "connect_timeout": account.connect_s, "read_timeout": account.read_s, "max_pool_connections": 64,
        "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS}, "signature_version": "s3v4",
        "s3": {"addressing_style": "path" if account.endpoint else "virtual"},
        # other services than AWS refuse checksums that nobody asked for
        "request_checksum_calculation": "when_required", "response_checksum_validation": "when_required",
        "ignore_configured_endpoint_urls": True,
    }  # fmt: skip
    session = S3FileSystem(
        key=account.access_key or None, secret=account.secret_key or None, endpoint_url=account.endpoint or None,
        client_kwargs={"region_name": account.region}, config_kwargs=config, asynchronous=True,
        skip_instance_cache=True,
    )  # fmt: skip
    session.retries = 1  # botocore's are enough
    return session


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """Turns s3fs's errors into store_unavailable with S3's code or the error's type: texts name URLs and keys."""
    try:
        yield
    except (OSError, BotoCoreError, ResponseParserError, ClientError) as error:
        answer = getattr(error.__cause__, "response", None) or {"Error": {}}
        code = answer["Error"].get("Code", type(error).__name__)
        raise _MEANT.get(code, AssetError)("store_unavailable", f"cannot {what}: {code}") from error
