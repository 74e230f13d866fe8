"""URLs through the real command, from servers on loopback: which are fetched, which are refused, and how it is told."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bad_media as bad
import pytest
from web import Server, answer, serving

METADATA = "http://169.254.169.254/latest/meta-data/"
REFUSED = {
    "loopback.png": "127.0.0.1",
    "localhost.png": "localhost",
    "decimal.png": "2130706433",
    "mapped.png": "[::ffff:127.0.0.1]",
}
ENDINGS = {
    **{name: ("rejected", "url_forbidden_address", 1) for name in [*REFUSED, "redirect.png"]},
    "missing.png": ("rejected", "url_status", 1),
    "endless.png": ("rejected", "too_large", 1),
    "changed.png": ("rejected", "source_changed", 1),
    "slow.png": ("failed", "url_timeout", 2),
    "down.png": ("failed", "url_unreachable", 2),
}


async def _endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
    while True:
        writer.write(bytes(2**16))
        await writer.drain()


async def _slow(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.2)


@dataclass
class Fetched:
    """Two runs with the same URLs; what the servers saw in each."""

    first: bad.Ran
    second: bad.Ran
    first_seen: list[str]
    second_seen: list[str]
    refused_connections: int
    good: bytes


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fetched]:
    """A run over all URLs, then one over the good one again."""
    yield asyncio.run(_both_runs(tmp_path_factory.mktemp("urls")))


async def _both_runs(place: Path) -> Fetched:
    good = bad.picture(place / "picture.png").read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as forbidden:
        forbidden.setblocking(False)
        async with serving(**_routes(good)) as server:
            server.routes["HEAD /changed.png"] = answer(good, ETag='"one"')
            urls = [f"http://{host}:{forbidden.getsockname()[1]}/{name}" for name, host in REFUSED.items()]
            urls += [server.url(f"/{name}", "127.0.0.1") for name in _routes(good)]
            first, first_seen = await _run(place, server, urls)
            second, second_seen = await _run(place, server, [server.url("/good.png", "127.0.0.1")])
        return Fetched(first, second, first_seen, second_seen, _connections(forbidden), good)


def _routes(good: bytes) -> dict[str, object]:
    return {
        "good.png": answer(good, ETag='"one"'),
        "redirect.png": answer(status="302 Found", Location=METADATA),
        "missing.png": answer(b"gone", "404 Not Found"),
        "down.png": answer(b"later", "503 Service Unavailable"),
        "changed.png": answer(good, ETag='"two"'),
        "endless.png": _endless,
        "slow.png": _slow,
    }


async def _run(place: Path, server: Server, urls: list[str]) -> tuple[bad.Ran, list[str]]:
    pipelines, seen = place / "pipelines.toml", len(server.seen)
    pipelines.write_text(bad.LEAN)
    given = {
        "url_allowed_networks": json.dumps([f"127.0.0.1:{server.port}"]), "pipelines_file": str(pipelines),
        "url_total_s": "3", "attempts": "2", "backoff_s": "0.05",
    }  # fmt: skip
    ran = await asyncio.to_thread(bad.run, place / "out", *urls, "--pipeline", "lean", **given)
    return ran, [request for request, _ in server.seen[seen:]]


def _connections(listener: socket.socket) -> int:
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.parametrize("name", ENDINGS)
def test_each_bad_url_has_its_own_ending(fetched: Fetched, name: str) -> None:
    """A URL that cannot or may not be fetched ends with a code and a sentence; what may pass is tried again."""
    bad.ended_badly(fetched.first, name, *ENDINGS[name])


def test_a_loopback_address_is_never_connected_to(fetched: Fetched) -> None:
    """Without an allowance no spelling of 127.0.0.1 leads to a connection, not even for its name."""
    assert fetched.refused_connections == 0


def test_a_redirect_is_checked_like_the_first_address(fetched: Fetched) -> None:
    """A redirect to the metadata address is refused before anything is asked of it."""
    letter = bad.ended_badly(fetched.first, "redirect.png", "rejected", "url_forbidden_address")
    assert letter.attempts[0].detail == "169.254.169.254"


def test_an_endless_body_is_cut_at_the_limit(fetched: Fetched) -> None:
    """No more is read than the largest file that the pipeline takes, and nothing of it is kept."""
    letter = bad.ended_badly(fetched.first, "endless.png", "rejected", "too_large")
    assert letter.attempts[0].detail == "more than 300000 bytes"
    assert fetched.first.half_written() == []


def test_a_slow_server_is_given_up(fetched: Fetched) -> None:
    """A server that sends on and on, but too slowly, is tried again, and then told from one that fell silent."""
    letter = bad.ended_badly(fetched.first, "slow.png", "failed", "url_timeout", attempts=2)
    assert "whole fetch" in letter.message


def test_a_good_url_completes(fetched: Fetched) -> None:
    """A picture from an allowed server is completed beside them, with the bytes that the server sent."""
    asset = fetched.first.assets["good.png"]
    assert (fetched.first.status, asset["state"], asset["kind"]) == (3, "completed", "image"), asset
    assert "GET /good.png" in fetched.first_seen
    objects = (fetched.first.out / "store" / "objects").rglob("*")
    assert fetched.good in [path.read_bytes() for path in objects if path.is_file()]


def test_the_same_version_is_found_again(fetched: Fetched) -> None:
    """A second run of a URL whose server names the same version asks for its head only, and finds every result."""
    asset = fetched.second.assets["good.png"]
    assert (fetched.second.status, asset["state"]) == (0, "completed")
    assert asset["asset_id"] == fetched.first.assets["good.png"]["asset_id"]
    assert fetched.second_seen == ["HEAD /good.png"]
    assert all(s["cached"] for s in asset["steps"] if s["stage"] in ("ingest", "validate", "derive", "preview"))
