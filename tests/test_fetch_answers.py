"""Fetching: bad answers of a server each have their code, and no answer is read beyond its limits."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace

import pytest
from web import DATA, LIMIT, answer, code, read, serving

from sources.fetch import FetchPolicy, Validator, validator_of
from sources.urls import _tls


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (answer(status="404 Not Found"), "url_status"),
        (answer(status="403 Forbidden"), "url_status"),
        (answer(status="304 Not Modified"), "url_status"),
        (answer(b"part", status="206 Partial Content"), "url_status"),
        (answer(status="500 Oops"), "url_unreachable"),
        (answer(status="429 Too Many Requests"), "url_unreachable"),
        (answer(DATA, Content_Length=str(len(DATA) + 1)), "url_unreachable"),
        (answer(Content_Length=str(LIMIT + 1)), "too_large"),
        (answer(b"\x1f\x8b", Content_Encoding="gzip"), "url_status"),
        (answer(b"new", ETag='"2"'), "source_changed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "url_unreachable"),
        (b"", "url_unreachable"),
    ],
)
def test_bad_answers_have_their_codes(reply: bytes, expected: str) -> None:
    """A refusal, a fault, a short body, a length over the limit and another version are told apart."""

    async def run() -> None:
        async with serving(x=reply) as server:
            with code(expected):
                await read(server.url("/x"), server.policy, validator='"1"')

    asyncio.run(run())


def test_an_endless_body_stops_at_the_limit() -> None:
    """A body without an end is too_large, and the server is hung up on."""
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while sent < 100 * LIMIT:
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()
            sent += 65536

    async def run() -> None:
        async with serving(x=endless) as server:
            with code("too_large"):
                await read(server.url("/x"), server.policy)

    asyncio.run(run())
    assert sent < 10 * LIMIT


async def silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(20)


async def stalled(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    await asyncio.sleep(20)


async def dripping(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")
    for _ in range(400):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def dripping_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for i in range(400):
        writer.write(f"X-{i}: y\r\n".encode())
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("route", [silent, stalled, dripping, dripping_headers])
def test_a_slow_server_times_out(route: object) -> None:
    """A server that is silent, stalls, or sends a byte at a time for too long is url_timeout."""

    async def run() -> None:
        async with serving(x=route) as server:
            with code("url_timeout"):
                await read(server.url("/x"), replace(server.policy, stall_s=0.3, total_s=0.8))

    asyncio.run(run())


def test_no_server_is_unreachable() -> None:
    """A port that nobody listens on, a name without an address and a failing look-up are url_unreachable."""

    async def none(host: str) -> list[str]:
        return []

    async def failing(host: str) -> list[str]:
        raise OSError("no such name")

    async def run() -> None:
        async with serving() as server:
            policy, url = server.policy, server.url("/x")
        for each in (policy, replace(policy, resolver=none), replace(policy, resolver=failing)):
            with code("url_unreachable"):
                await read(url, each)

    asyncio.run(run())


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://a.test/x",
        "gopher://a.test/",
        "data:text/plain,x",
        "x",
        "",
        "http:///x",
        "http://u:p@a.test/",
        "http://[/",
        "http://a b.test/",
        "http://a%2f.test/",
        "http://a\n.test/",
    ],
)
def test_other_schemes_are_refused(uri: str) -> None:
    """Only http and https URLs with a host and without credentials are fetched."""
    with code("url_scheme"):
        asyncio.run(read(uri))


def test_tls_is_for_the_name() -> None:
    """On a pinned address TLS still names the host, and its certificate must be valid for that name."""
    hello: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello.append(await reader.read(4096))
        writer.close()

    async def run() -> None:
        listener = await asyncio.start_server(take, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]

        async def resolver(host: str) -> list[str]:
            return ["127.0.0.1"]

        async with listener:
            with code("url_unreachable"):
                policy = FetchPolicy(allowed_networks=(f"127.0.0.1:{port}",), resolver=resolver)
                await read(f"https://media.test:{port}/x", policy)

    asyncio.run(run())
    assert b"media.test" in hello[0]
    assert _tls().check_hostname
    assert _tls().verify_mode is ssl.CERT_REQUIRED


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment would connect for us, past the guard."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def run() -> None:
        async with serving(x=answer(DATA)) as server:
            assert await read(server.url("/x"), server.policy) == DATA

    asyncio.run(run())


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            answer(ETag='"1"', Last_Modified="then", Content_Type="Video/MP4; x=y"),
            ('"1"', "a b.mp4", "video/mp4"),
        ),
        (answer(Last_Modified="then"), ("then", "a b.mp4", "")),
        (answer(Content_Disposition='attachment; filename="../../etc/c.mp4"'), ("", "c.mp4", "")),
        (answer(Content_Disposition="attachment; filename*=UTF-8''%E2%80%AE%C3%BC.mp4"), ("", "ü.mp4", "")),
        (answer(Content_Disposition='attachment; filename=".."'), ("", "download", "")),
    ],
)
def test_the_validator_and_a_safe_name(reply: bytes, expected: tuple[str, str, str]) -> None:
    """HEAD gives ETag or else Last-Modified, a name that is no path, and the media type."""

    async def run() -> None:
        async with serving() as server:
            server.routes["HEAD /d/a%20b.mp4"] = reply
            assert await validator_of(server.url("/d/a%20b.mp4"), server.policy) == Validator(*expected)

    asyncio.run(run())


def test_the_validator_without_head() -> None:
    """Where HEAD is refused a GET tells the same, and its body is not read."""

    async def run() -> None:
        async with serving() as server:
            server.routes["HEAD /x.bin"] = answer(status="405 Method Not Allowed")
            server.routes["GET /x.bin"] = answer(ETag='"1"', Content_Length=str(2**50))
            assert (await validator_of(server.url("/x.bin"), server.policy)).validator == '"1"'
            server.routes["GET /x.bin"] = answer(status="404 Not Found")
            with code("url_status"):
                await validator_of(server.url("/x.bin"), server.policy)

    asyncio.run(run())
