"""An HTTP server on loopback for the tests of fetching, and how they fetch from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace

import pytest

from schemas.asset import Source
from schemas.errors import AssetError
from sources.fetch import FetchPolicy, open_source

LIMIT = 10 * 2**20
DATA = bytes(range(256)) * 12_000


async def _nobody(host: str) -> list[str]:
    raise AssertionError(f"{host} must not be looked up")


POLICY = FetchPolicy(connect_s=2, stall_s=2, total_s=10, resolver=_nobody)


@contextmanager
def code(expected: str) -> Iterator[None]:
    """The block raises an AssetError with this code."""
    with pytest.raises(AssetError) as raised:
        yield
    assert raised.value.code == expected


async def read(uri: str, policy: FetchPolicy = POLICY, limit: int = LIMIT, **fields: str) -> bytes:
    """The whole source."""
    source = Source(uri=uri, name="x", **fields)
    async with aclosing(open_source(source, limit, policy)) as chunks:
        return b"".join([chunk async for chunk in chunks])


class Server:
    """An HTTP server on 127.0.0.1 whose answer to a path is bytes, or a function that writes it."""

    def __init__(self) -> None:
        self.port, self.seen = 0, list[tuple[str, dict[str, str]]]()
        self.routes: dict[str, bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]] = {}

    @property
    def policy(self) -> FetchPolicy:
        return replace(POLICY, allowed_networks=(f"127.0.0.1:{self.port}",), resolver=self.resolve)

    async def resolve(self, host: str) -> list[str]:
        return ["127.0.0.1"]

    def url(self, path: str, host: str = "media.test") -> str:
        return f"http://{host}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
            method, path, _ = first.split(" ")
            self.seen.append((f"{method} {path}", headers))
            route = self.routes.get(f"{method} {path}") or self.routes[path]
            if callable(route):
                await route(writer)
            else:
                writer.write(route)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(**routes: object) -> AsyncIterator[Server]:
    server = Server()
    server.routes = {f"/{name}": route for name, route in routes.items()}  # type: ignore[misc]
    listener = await asyncio.start_server(server._serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    if "Content_Length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
