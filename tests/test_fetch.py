"""Fetching: what leads out of the input folder or to a private address is refused before it is touched.

All traffic stays on loopback, to servers that the tests start; the tests resolve all names themselves.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
from web import DATA, LIMIT, POLICY, answer, code, read, serving

from schemas.asset import Source
from sources.addresses import is_public
from sources.fetch import open_source, validator_of

# Files


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    """A file of the folder, with any name and also by a link within it, gives its bytes."""
    (tmp_path / "a #1 ü.bin").write_bytes(DATA)
    (tmp_path / "link").symlink_to("a #1 ü.bin")
    for name in ("a #1 ü.bin", "link"):
        assert asyncio.run(read((tmp_path / name).as_uri(), root=str(tmp_path))) == DATA


@pytest.mark.parametrize("kind", ["link", "folder link", "dots"])
def test_a_path_out_of_the_folder_is_refused(tmp_path: Path, kind: str) -> None:
    """Whichever way a path leaves the input folder, it is path_outside_input."""
    inside, outside = tmp_path / "in", tmp_path / "in-not"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (inside / "link").symlink_to(outside / "secret")
    (inside / "folder").symlink_to(outside)
    path = {"link": "link", "folder link": "folder/secret", "dots": "../in-not/secret"}[kind]
    with code("path_outside_input"):
        asyncio.run(read(f"{inside.as_uri()}/{path}", root=str(inside)))


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    """An input folder that is reached by a link holds its files all the same."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x").write_bytes(b"x")
    (tmp_path / "in").symlink_to("real")
    assert asyncio.run(read((tmp_path / "in" / "x").as_uri(), root=str(tmp_path / "in"))) == b"x"


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe without a writer, a device, a folder, a broken link and nothing at all are source_missing."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to("nothing")
    for uri in [
        *((tmp_path / n).as_uri() for n in ("pipe", "broken", "none", "")),
        "file:///dev/zero",
        "file:///a%00b",
    ]:
        with code("source_missing"):
            asyncio.run(asyncio.wait_for(read(uri), 5))


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    """A file larger than the limit is too_large before a byte of it is read."""
    with (tmp_path / "big").open("wb") as file:
        file.truncate(2**40)
    with code("too_large"):
        asyncio.run(read((tmp_path / "big").as_uri()))


def rewrite(path: Path) -> None:
    path.write_bytes(DATA[::-1])


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(DATA)


def shrink(path: Path) -> None:
    os.truncate(path, len(DATA) - 1)


def swap(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(DATA)
    other.replace(path)


@pytest.mark.parametrize("change", [rewrite, grow, shrink, swap, Path.unlink])
def test_a_file_changed_while_read_is_refused(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """A file that is rewritten, grows, shrinks, is replaced or goes while it is read is source_changed."""
    path = tmp_path / "x"
    path.write_bytes(DATA)
    os.utime(path, (1e9, 1e9))

    async def run() -> None:
        async with aclosing(open_source(Source(uri=path.as_uri(), name="x"), LIMIT, POLICY)) as chunks:
            await anext(chunks)
            change(path)
            async for _ in chunks:
                pass

    with code("source_changed"):
        asyncio.run(run())


# URLs


def test_a_url_is_read_whole() -> None:
    """The body comes as it was sent; the request names the host, and asks for no compression."""

    async def run() -> None:
        async with serving(x=answer(DATA)) as server:
            data = await read(server.url("/x"), server.policy)
            assert hashlib.sha256(data).digest() == hashlib.sha256(DATA).digest()
            assert server.seen[0][1]["host"] == f"media.test:{server.port}"
            assert server.seen[0][1]["accept-encoding"] == "identity"

    asyncio.run(run())


PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "192.0.0.8", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "168.63.129.16", "::", "::1", "::7f00:1", "fe80::1", "fe80::1%eth0", "fc00::1",
    "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::1",
    "2002:a9fe:a9fe::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2001:0:1::1",
    "2001:db8::1", "2600::5efe:7f00:1", "fec0::1", "x",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_public(address: str) -> None:
    """Private, loopback, link-local, shared, multicast, reserved and metadata addresses, in any form."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"],
)
def test_public_addresses_are_public(address: str) -> None:
    """A global unicast address is accepted, and so is one that stands for a global IPv4 address."""
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "inner.test", "mixed.test"])
def test_a_private_address_sees_no_connection(host: str) -> None:
    """A host that is or resolves to a private address, also beside a public one, sees no connection."""

    async def resolver(name: str) -> list[str]:
        return {"inner.test": ["127.0.0.1"], "mixed.test": ["93.184.216.34", "127.0.0.1"]}[name]

    async def run() -> None:
        connections: list[object] = []
        listener = await asyncio.start_server(lambda r, w: connections.append(w), "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener:
            with code("url_forbidden_address"):
                await read(f"http://{host}:{port}/x", replace(POLICY, resolver=resolver))
            with code("url_forbidden_address"):
                await validator_of(f"https://{host}:{port}/x", replace(POLICY, resolver=resolver))
            await asyncio.sleep(0.05)
        assert connections == []

    asyncio.run(run())


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://169.254.169.254/latest/meta-data/", "url_forbidden_address"),
        ("//[fd00:ec2::254]/x", "url_forbidden_address"),
        ("file:///etc/passwd", "url_scheme"),
        ("http://user:secret@media.test/x", "url_scheme"),
        ("/hop", "url_redirects"),
    ],
)
def test_redirects_are_checked(target: str, expected: str) -> None:
    """Each redirect is checked like the first address, and there are at most five."""

    async def run() -> None:
        async with serving(hop=answer(status="302 Found", Location=target)) as server:
            with code(expected):
                await read(server.url("/hop"), server.policy)
            assert len(server.seen) == (6 if expected == "url_redirects" else 1)

    asyncio.run(run())


def test_redirects_are_followed() -> None:
    """A relative redirect leads to the file, on a connection that sends the new name."""

    async def run() -> None:
        async with serving(b=answer(status="308 Permanent Redirect", Location="c"), c=answer(DATA)) as server:
            server.routes["/a"] = answer(status="301 Moved", Location=server.url("/b", "other.test"))
            assert await read(server.url("/a"), server.policy) == DATA
            assert [s[1]["host"].split(":")[0] for s in server.seen] == [
                "media.test",
                "other.test",
                "other.test",
            ]

    asyncio.run(run())


def test_the_connection_goes_to_the_checked_address() -> None:
    """A name that resolves to another address the second time gets no second look-up: no rebinding."""
    asked: list[str] = []

    async def rebinding(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    async def run() -> None:
        private: list[object] = []
        async with serving(x=answer(DATA)) as server:
            trap = await asyncio.start_server(lambda r, w: private.append(w), "127.0.0.2", server.port)
            async with trap:
                policy = replace(server.policy, resolver=rebinding)
                assert await read(server.url("/x"), policy) == DATA
                assert asked == ["media.test"]
                with code("url_forbidden_address"):
                    await read(server.url("/x"), policy)
            assert private == []

    asyncio.run(run())


def test_the_next_address_is_tried() -> None:
    """Where the first address takes no connection, the next one does."""

    async def run() -> None:
        async with serving(x=answer(DATA)) as server:

            async def resolver(host: str) -> list[str]:
                return ["127.0.0.3", "127.0.0.1"]

            policy = replace(server.policy, allowed_networks=("127.0.0.0/8",), resolver=resolver)
            assert await read(server.url("/x"), policy) == DATA

    asyncio.run(run())
