"""Addresses of a device as texts: which are direct, which lead through a relay, and through which.

Owns: taking multiaddr texts apart and putting circuit addresses together. Source: libp2p specs, addressing and
relay/circuit-v2.md. Never touches: sockets, names, libp2p; the dialer's transport parses the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from covey_core.errors import ProtocolViolation
from covey_core.peers import PeerId, public_key_of

_CIRCUIT = "/p2p-circuit"


@dataclass(frozen=True, slots=True)
class Direct:
    """An address of the device itself; `addr` ends in /p2p/<peer>."""

    peer: PeerId
    addr: str


@dataclass(frozen=True, slots=True)
class Through:
    """The device behind a relay: `relay_addr` ends in /p2p/<relay>."""

    peer: PeerId
    relay: PeerId
    relay_addr: str


def parse(addr: str) -> Direct | Through:
    """Return what an address leads to; ProtocolViolation unless it ends in a PeerId with an Ed25519 key."""
    way, found, rest = addr.partition(_CIRCUIT)
    if not found:
        return Direct(_last_peer(addr), addr)
    return Through(_last_peer(rest), _last_peer(way), way)


def circuit(relay_addr: str, peer: PeerId) -> str:
    """Return the address of `peer` through the relay at `relay_addr` (which ends in /p2p/<relay>)."""
    return f"{relay_addr}{_CIRCUIT}/p2p/{peer}"


def usable(addrs: Iterable[str], peer: PeerId) -> list[Direct | Through]:
    """Return those addresses that lead to `peer`; damaged ones and ones of other devices are left out."""
    found: list[Direct | Through] = []
    for addr in addrs:
        try:
            target = parse(addr)
        except ProtocolViolation:
            continue
        if target.peer == peer and target not in found:
            found.append(target)
    return found


def peers_in(addrs: Iterable[str]) -> tuple[PeerId, ...]:
    """Return the devices that the addresses lead to, each once, in order."""
    found: dict[PeerId, None] = {}
    for addr in addrs:
        try:
            found[parse(addr).peer] = None
        except ProtocolViolation:
            continue
    return tuple(found)


def host_of(addr: str) -> str | None:
    """Return the IP address or name in front of a multiaddr, None when there is none."""
    parts = addr.split("/")
    return parts[2] if len(parts) > 3 and parts[1] in {"ip4", "ip6", "dns", "dns4", "dns6"} else None  # noqa: PLR2004


def is_loopback(host: str) -> bool:
    """Whether packets to this IP stay on this machine; a name is none."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def transport_of(addr: str) -> str:
    """Return METRICS' `transport` of an address: tcp, quic, ws or other; of a circuit the relay connection's."""
    parts = addr.partition("/p2p/")[0].split("/")
    if not {"ws", "wss"}.isdisjoint(parts):
        return "ws"
    if "quic-v1" in parts:
        return "quic"
    return "tcp" if "tcp" in parts else "other"


def ip_version_of(addr: str) -> str:
    """Return ip6 or ip4; of a circuit that of the relay's connection. A name counts as ip4 unless it says dns6."""
    return "ip6" if addr.split("/")[1:2] in (["ip6"], ["dns6"]) else "ip4"


def _last_peer(addr: str) -> PeerId:
    _, found, peer = addr.rpartition("/p2p/")
    if not found or "/" in peer:
        raise ProtocolViolation("an address that does not end in a PeerId")
    name = PeerId(peer)
    public_key_of(name)
    return name
