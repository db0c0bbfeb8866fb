"""Multiaddrs of DHT servers: their binary form, their address group, and whether they may be told or dialled.

Owns: those three questions. Spec: libp2p specs, addressing; docs/spec/dht.md. Never touches: sockets, DNS.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from covey_core import limits as core_limits
from covey_core.host import kad_limits as limits
from covey_core.network import Scope
from covey_core.peers import PeerId

_DNS: Final = frozenset({"dns", "dns4", "dns6", "dnsaddr"})
_IPV4_GROUP_BITS: Final = 24
_IPV6_GROUP_BITS: Final = 48


def binary_addr(addr: str) -> bytes:
    """Return a multiaddr of ours in binary form without its /p2p part, as it stands beside a PeerId on the wire."""
    return bytes(Multiaddr(addr.partition("/p2p/")[0]).to_bytes())


def text_addr(raw: bytes, peer: PeerId) -> str | None:
    """Return the text of a stranger's binary multiaddr with /p2p/<peer> at its end.

    None when it cannot be read, names another peer, goes over a circuit (servers are reached directly) or is
    longer than the core's bound.
    """
    if len(raw) > core_limits.ADDRESS_MAX_BYTES:
        return None
    try:
        text = str(Multiaddr(raw))
    except (MultiaddrError, LookupError, ValueError):
        return None
    transport, _, rest = text.partition("/p2p/")
    if rest not in {"", peer} or "/p2p-circuit" in text or not transport.startswith("/"):
        return None
    return f"{transport}/p2p/{peer}" if len(text) <= core_limits.ADDRESS_MAX_CHARS else None


def parts_of(addr: str) -> tuple[str, str]:
    """Return the first protocol and value of a multiaddr: ("ip4", "192.0.2.1"), ("dns4", "seed.example")."""
    pieces = addr.split("/", 3)
    return (pieces[1], pieces[2]) if len(pieces) > 2 and not pieces[0] else ("", "")  # noqa: PLR2004 - "", name, value


def dialable(addrs: Iterable[str], scope: Scope) -> tuple[str, ...]:
    """Return those addresses that the network's scope lets us dial, names included, at most 8, without repetition."""
    kept: dict[str, None] = {}
    for addr in addrs:
        kind, value = parts_of(addr)
        if kind in _DNS or (kind in {"ip4", "ip6"} and scope.may_dial(value)):
            kept[addr] = None
    return tuple(kept)[: limits.PEER_ADDRESSES]


def subnet_of(addrs: Iterable[str]) -> str | None:
    """Return the globally routable /24 or /48 of the first such address, or None: other addresses are no group."""
    for addr in addrs:
        kind, value = parts_of(addr)
        if kind not in {"ip4", "ip6"}:
            continue
        try:
            ip = ipaddress.ip_address(value)
        except ValueError:
            continue
        if ip.is_global:
            bits = _IPV4_GROUP_BITS if ip.version == 4 else _IPV6_GROUP_BITS  # noqa: PLR2004 - IP version
            return str(ipaddress.ip_network(f"{ip}/{bits}", strict=False))
    return None
