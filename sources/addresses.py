"""Which addresses a fetch may connect to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_UNICAST = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")
_REFUSED = [
    ip_network(net)
    for net in (
        "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24",  # shared, protocol assignments, 6to4 relays
        "168.63.129.16/32",  # a cloud's own server on a public address
        "2001::/23", "2001:db8::/32", "3fff::/20",  # protocol assignments with Teredo, documentation
    )
]  # fmt: skip


async def resolve(host: str) -> list[str]:
    """The addresses of a name, by the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def ip_of(address: str) -> IPv4Address | IPv6Address | None:
    """The IP address that is written so, or None for a name."""
    try:
        return ip_address(address)
    except ValueError:
        return None


def is_public(address: str) -> bool:
    """Whether it is global unicast by IANA's special-purpose registries, and so is any IPv4 inside it."""
    ip = ip_of(address)
    if isinstance(ip, IPv6Address):
        inner = _inner(ip)
        if ip.scope_id or (inner and not is_public(str(inner))):
            return False
        if ip.ipv4_mapped or ip in _NAT64:
            return True
        if ip not in _UNICAST:
            return False
    if ip is None or not ip.is_global or ip.is_multicast or ip.is_reserved:
        return False
    return not any(ip in network for network in _REFUSED)


def _inner(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a mapped, 6to4, NAT64 or ISATAP address stands for."""
    isatap = (int(ip) >> 32) & 0xFDFFFFFF == 0x5EFE
    low = IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 or isatap else None
    return ip.ipv4_mapped or ip.sixtofour or low


def is_listed(address: str, port: int, allowed: Sequence[str]) -> bool:
    """Whether `allowed` names it, as "address:port" or by a network ("10.0.0.0/8")."""
    ip = ip_of(address)
    return f"{address}:{port}" in allowed or any(
        ip in ip_network(network) for network in allowed if ip and "/" in network
    )
