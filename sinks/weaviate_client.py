"""The connection to a Weaviate server: made at the first call, with bounded waits and errors that have a code."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import grpc
import httpx
import weaviate
from weaviate import WeaviateAsyncClient
from weaviate.classes.init import AdditionalConfig, Auth, GrpcConfig, Timeout
from weaviate.exceptions import WeaviateBaseError

from schemas.errors import AssetError
from schemas.settings import WEAVIATE_URL

VectorIndexType = Literal["flat", "hnsw"]

CONNECT_S, QUERY_S, INSERT_S, SCHEMA_S = 5, 30, 60, 120

# A server that is back is found soon. A connection whose other end is gone is given up once what was sent is not
# acknowledged in time, which takes keep-alive; the server allows a ping in five minutes.
_CHANNEL = [
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.keepalive_time_ms", 301_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]


@dataclass(frozen=True)
class Policy:
    """How an index uses the server.

    At most `active` tenants of a collection stay active for a process. Organisations whose names match one of the
    patterns in `shared` are put together into a few tenants. `vectors` says what a new vector space is searched by:
    "flat" compares with every vector of the tenant, and is exact; "hnsw" walks a graph, which pays from some 100,000
    moments of an organisation on, and loses a vector that is alone in its tenant before Weaviate 1.39.4.
    """

    active: int = 1000
    shared: tuple[str, ...] = ()
    vectors: VectorIndexType = "flat"


class Link:
    """The server of a URL of the settings (`weaviates:` for TLS), for one event loop."""

    def __init__(self, url: str, key: str = "") -> None:
        if not re.fullmatch(WEAVIATE_URL, url):
            raise ValueError(f"not a URL of Weaviate: {url}")
        parts, self._key = urlsplit(url), key
        self._secure, self._host = parts.scheme == "weaviates", str(parts.hostname)
        self._port = parts.port or (443 if self._secure else 8080)
        host, _, port = parse_qs(parts.query).get("grpc", ["50051"])[0].rpartition(":")
        self._grpc_host, self._grpc_port = host or self._host, int(port)
        self.prefix = parts.path.strip("/")
        self._client: WeaviateAsyncClient | None = None
        self._lock = asyncio.Lock()
        # it logs whole objects, whose errors it returns as well
        logging.getLogger("weaviate-client").setLevel(logging.CRITICAL)

    async def client(self) -> WeaviateAsyncClient:
        """The connected client. Raises index_unavailable."""
        async with self._lock:
            if self._client is None:
                client = self._made()
                async with answered_within(CONNECT_S):
                    try:
                        await client.connect()
                    except BaseException:
                        await client.close()
                        raise
                self._client = client
            return self._client

    async def close(self) -> None:
        """Ends the connections."""
        async with self._lock:
            client, self._client = self._client, None
            if client is not None:
                await client.close()

    def _made(self) -> WeaviateAsyncClient:
        timeout = Timeout(init=CONNECT_S, query=QUERY_S, insert=INSERT_S)
        return weaviate.use_async_with_custom(
            http_host=self._host, http_port=self._port, http_secure=self._secure,
            grpc_host=self._grpc_host, grpc_port=self._grpc_port, grpc_secure=self._secure,
            auth_credentials=Auth.api_key(self._key) if self._key else None,
            additional_config=AdditionalConfig(timeout=timeout, grpc_config=GrpcConfig(channel_options=_CHANNEL)),
            skip_init_checks=True,  # one of them asks a package index for newer versions
        )  # fmt: skip


@asynccontextmanager
async def answered_within(seconds: float) -> AsyncIterator[None]:
    """Bounds what is asked in this context; every error of the server or the network is index_unavailable."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (WeaviateBaseError, httpx.HTTPError, grpc.RpcError, OSError) as error:
        raise AssetError("index_unavailable", _said(error)) from error


def _said(error: BaseException) -> str:
    """The error's type with the end of what it says, where the server puts the cause."""
    return f"{type(error).__name__}: {str(error).strip()[-300:]}"
