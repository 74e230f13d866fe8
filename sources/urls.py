"""URLs as streams of bytes: http(s) only, public addresses only, bounded in size and time."""

from __future__ import annotations

import asyncio
import re
import ssl
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from email.message import Message
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import httpx

from operators.served import BLOCK
from schemas.asset import Source
from schemas.errors import AssetError
from schemas.ports import Parts
from sources.addresses import ip_of, is_listed, is_public, resolve

# a part of a file that is long in coming is not waited for: the whole one is under way, too
_PART_S = 10.0
_PLACE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
Resolver = Callable[[str], Awaitable[Sequence[str]]]


@dataclass(frozen=True)
class FetchPolicy:
    """How sources are fetched; times in seconds.

    `files`: those of this machine may be read, which no stranger's request may. `connect_s` is for one address,
    `stall_s` the longest silence, `total_s` the whole fetch with redirects. `allowed_networks` excepts addresses from
    the guard: a network ("10.0.0.0/8") or "address:port".
    """

    files: bool = True
    allowed_networks: tuple[str, ...] = ()
    connect_s: float = 10.0
    stall_s: float = 30.0
    total_s: float = 3600.0
    max_redirects: int = 5
    resolver: Resolver = resolve


class Validator(NamedTuple):
    """What a server says of a URL: its ETag or Last-Modified or "", a safe file name, the media type."""

    validator: str
    name: str
    media_type: str


async def open_url(source: Source, limit: int, policy: FetchPolicy) -> AsyncGenerator[bytes, None]:
    """The body, at most `limit` bytes, of the version that `source.validator` names if it does.

    Raises url_scheme, url_forbidden_address, url_redirects, url_status, url_unreachable, url_timeout,
    too_large, source_changed.
    """
    deadline = asyncio.get_running_loop().time() + policy.total_s
    async with _answer("GET", source.uri, policy, deadline) as (response, _):
        _check_status(response)
        _check_headers(response, source.validator, limit)
        size, body = 0, response.aiter_raw()
        while chunk := await _next(body, deadline):
            size += len(chunk)
            if size > limit:
                raise AssetError("too_large", f"more than {limit} bytes")
            yield chunk


async def parts_of(source: Source, limit: int, policy: FetchPolicy) -> Parts:
    """The file that `open_url` would read, to be read by ranges (RFC 9110, 14).

    Raises as `open_url` does, url_status where the server gives none.
    """
    size, first = await _part(source, 0, BLOCK, limit, policy)

    async def read(start: int, end: int) -> bytes:
        if end <= len(first):
            return first[start:end]
        found, data = await _part(source, start, end, limit, policy)
        if (found, len(data)) != (size, end - start):
            raise AssetError("source_changed", f"{len(data)} bytes from {start} on, {found} in all")
        return data

    return Parts(size, read)


async def _part(source: Source, start: int, end: int, limit: int, policy: FetchPolicy) -> tuple[int, bytes]:
    """The whole file's size and its bytes from `start` up to `end` or its own."""
    deadline = asyncio.get_running_loop().time() + min(_PART_S, policy.total_s)
    wanted = {"Range": f"bytes={start}-{end - 1}"}
    async with _answer("GET", source.uri, policy, deadline, wanted) as (response, _):
        place = _PLACE.fullmatch(response.headers.get("content-range", "").strip())
        if response.status_code != 206 or place is None:
            raise AssetError("url_status", f"status {response.status_code} where a range was asked for")
        _check_headers(response, source.validator, limit)
        first, last, size = map(int, place.groups())
        if first != start or last != min(end, size) - 1 or size > limit:
            raise AssetError("url_status", f"bytes {first} to {last} of {size} where others were asked for")
        data, body = bytearray(), response.aiter_raw()
        while len(data) <= last - first and (chunk := await _next(body, deadline)):
            data += chunk
        return size, bytes(data[: last - first + 1])


async def validator_of(url: str, policy: FetchPolicy) -> Validator:
    """Asks by HEAD, or by GET without its body where HEAD is refused. Raises as `open_url` does."""
    try:
        return await _asked("HEAD", url, policy)
    except AssetError as error:
        if error.code not in ("url_status", "url_unreachable"):
            raise
    return await _asked("GET", url, policy)


async def _asked(method: str, url: str, policy: FetchPolicy) -> Validator:
    deadline = asyncio.get_running_loop().time() + policy.total_s
    async with _answer(method, url, policy, deadline) as (response, final):
        _check_status(response)
        headers = Message()
        for key in ("content-disposition", "content-type"):
            headers[key] = response.headers.get(key, "")
        media_type = headers["content-type"].split(";")[0].strip().lower()
        name = headers.get_filename() or final.path
        return Validator(next(iter(_validators(response)), ""), _safe_name(name), media_type)


async def _next(body: AsyncIterator[bytes], deadline: float) -> bytes:
    with _url_errors():
        async with asyncio.timeout_at(deadline):
            return await anext(body, b"")


@asynccontextmanager
async def _answer(
    method: str, url: str, policy: FetchPolicy, deadline: float, headers: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[tuple[httpx.Response, httpx.URL]]:
    """The first answer that is no redirect, and its URL; every hop is checked like the first."""
    address = _checked_url(url)
    for _ in range(policy.max_redirects + 1):
        async with _sent(method, address, policy, deadline, headers) as response:
            if not response.has_redirect_location:
                yield response, address
                return
            address = _checked_url(response.headers["location"], address)
    raise AssetError("url_redirects", f"more than {policy.max_redirects}")


def _checked_url(url: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        parsed = base.join(url) if base else httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise AssetError("url_scheme", "not a URL") from error
    host = parsed.raw_host.decode()
    if parsed.scheme not in ("http", "https"):
        raise AssetError("url_scheme", f"{parsed.scheme or 'no'} scheme")
    if not ip_of(host) and not _NAME.fullmatch(host):
        raise AssetError("url_scheme", "not a host")
    if parsed.userinfo:
        raise AssetError("url_scheme", "a user name or password in a URL is not accepted")
    return parsed


@asynccontextmanager
async def _sent(
    method: str, url: httpx.URL, policy: FetchPolicy, deadline: float, headers: Mapping[str, str]
) -> AsyncIterator[httpx.Response]:
    with _url_errors():
        async with asyncio.timeout_at(deadline):
            addresses = await _addresses(url, policy)
    times = httpx.Timeout(policy.stall_s, connect=policy.connect_s)
    async with httpx.AsyncClient(verify=_tls(), timeout=times, trust_env=False) as client:
        with _url_errors():
            async with asyncio.timeout_at(deadline):
                response = await _first(client, method, url, addresses, headers)
        try:
            yield response
        finally:
            await response.aclose()


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


async def _addresses(url: httpx.URL, policy: FetchPolicy) -> list[str]:
    """All addresses of the host, if every one may be connected to: one bad one among them is an attack."""
    host = url.raw_host.decode()
    found = [host] if ip_of(host) else list(await policy.resolver(host))
    port = url.port or (443 if url.scheme == "https" else 80)
    if not found:
        raise AssetError("url_unreachable", f"{host} has no address")
    if not all(is_public(address) or is_listed(address, port, policy.allowed_networks) for address in found):
        raise AssetError("url_forbidden_address", host)
    return found


async def _first(
    client: httpx.AsyncClient, method: str, url: httpx.URL, addresses: list[str], more: Mapping[str, str]
) -> httpx.Response:
    """The answer of the first address that takes the connection.

    The request goes to the checked address itself, so that no second look-up can lead elsewhere; the name
    stays in the Host header and in TLS, where the certificate is checked against it.
    """
    headers = {"Host": url.netloc.decode(), "Accept-Encoding": "identity", "User-Agent": "asset-pipeline", **more}
    for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
        pinned = client.build_request(
            method, url.copy_with(host=address), headers=headers,
            extensions={"sni_hostname": url.raw_host.decode()},
        )  # fmt: skip
        try:
            return await client.send(pinned, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            if not left:
                raise
    raise AssertionError("no address")


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status >= 500 or status in (408, 425, 429):
        raise AssetError("url_unreachable", f"status {status}")
    if not response.is_success or status == 206:
        raise AssetError("url_status", f"status {status}")


def _check_headers(response: httpx.Response, validator: str, limit: int) -> None:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise AssetError("url_status", f"sent with content encoding {encoding[:40]} that was not asked for")
    length = response.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise AssetError("too_large", f"{length} bytes, the limit is {limit}")
    validators = _validators(response)
    if validator and validators and validator not in validators:
        raise AssetError("source_changed", "another version than when it was submitted")


def _validators(response: httpx.Response) -> list[str]:
    found = (response.headers.get(name, "").strip() for name in ("etag", "last-modified"))
    return [value for value in found if value]


def _safe_name(name: str) -> str:
    """The last component, without control and direction characters, at most 200 characters, suffix kept."""
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    clean = "".join(c for c in last if unicodedata.category(c)[0] != "C").strip(". ")
    stem, dot, suffix = clean.rpartition(".")
    return f"{stem[:180]}.{suffix[:19]}" if dot and len(clean) > 200 else clean[:200] or "download"


@contextmanager
def _url_errors() -> Iterator[None]:
    try:
        yield
    except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
        raise AssetError("url_timeout", "it fell silent") from error
    except TimeoutError as error:
        raise AssetError("url_timeout", "it was not done within the time for a whole fetch") from error
    except (httpx.TransportError, OSError, UnicodeError) as error:
        raise AssetError("url_unreachable", str(error)[:200] or type(error).__name__) from error
