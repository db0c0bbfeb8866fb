"""Which of our addresses a peer is told to punch to, and which of a peer's addresses we punch to.

Owns: both choices. Spec: docs/spec/dcutr.md, "Addresses". Never touches: sockets, who observed us (callers pass it).

A peer names addresses to which we then write without having been asked by whoever is there. So they are few, of few
machines, never of our own site, and never where services live.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Protocol

from covey_core.network import Scope
from covey_core.peers import PeerId
from covey_core.wire.direct_addr import DirectAddr
from covey_node import limits

_SITE_BITS = {4: 24, 6: 64}
"""The usual size of one local network: a /24 of IPv4, a /64 of IPv6 (RFC 4291)."""


class Observed(Protocol):
    """`covey_core.host.Observation`: how one peer sees us."""

    @property
    def peer(self) -> PeerId:
        """Who saw us."""

    @property
    def remote_addr(self) -> str:
        """Where it is."""

    @property
    def observed(self) -> str | None:
        """Our address as it sees it; None when it has not said."""


def candidates(
    observations: Sequence[Observed],
    listen: Iterable[str],
    mapped: Iterable[str],
    *,
    scope: Scope,
    observers: Collection[PeerId] | None = None,
) -> tuple[str, ...]:
    """Return what we tell a peer, the likeliest first, 8 at most, without /p2p.

    `observations`: the newest last. Only those count that come from outside our site, and from `observers` (our
    relays) when these are given: anybody else could have us send our peers somewhere. `listen`: what the sockets are
    bound to, any-address replaced. `mapped`: what a router forwards to us.
    """
    seen: dict[DirectAddr, None] = {}
    per_ip: Counter[tuple[str, str]] = Counter()
    for one in reversed(observations):
        addr, observer = DirectAddr.parse(one.observed or ""), DirectAddr.parse(one.remote_addr)
        if addr is None or not scope.may_dial(addr.ip) or (observers is not None and one.peer not in observers):
            continue
        if addr in seen or observer is None or not scope.may_dial(observer.ip):
            continue
        if per_ip[addr.ip, addr.transport] < limits.PUNCH_OBSERVED_PER_IP_MAX:
            per_ip[addr.ip, addr.transport] += 1
            seen[addr] = None
    bound = [addr for addr in map(DirectAddr.parse, listen) if addr is not None]
    found = [
        *seen,
        *(addr for addr in map(DirectAddr.parse, mapped) if addr is not None and scope.may_dial(addr.ip)),
        *(addr for addr in bound if scope.may_dial(addr.ip)),
        *_guesses(seen, bound),
    ]
    return tuple(map(str, dict.fromkeys(found)))[: limits.PUNCH_ADDRS_MAX]


def _guesses(seen: Collection[DirectAddr], bound: Iterable[DirectAddr]) -> list[DirectAddr]:
    """Return our port on the outside IP for each transport that nobody saw: most routers keep the port (RFC 4787)."""
    known = {(addr.ip_version, addr.transport) for addr in seen}
    ips = dict.fromkeys((addr.ip, addr.ip_version) for addr in seen)
    return [
        DirectAddr(ip, one.transport, one.port)
        for one in bound
        for ip, version in ips
        if one.ip_version == version and (version, one.transport) not in known
    ]


def punchable(told: Iterable[bytes], ours: Iterable[str], *, scope: Scope) -> tuple[str, ...]:
    """Return those of a peer's binary multiaddrs that we punch to, in its order, 8 at most.

    Left out: what is no IP with TCP or QUIC; what the network's scope does not allow; ports below 1024; our own
    addresses; families and transports that none of `ours` has; more than 4 IPs, or 2 ports of an IP and transport.
    """
    own = [addr for addr in map(DirectAddr.parse, ours) if addr is not None]
    kinds = {(addr.ip_version, addr.transport) for addr in own}
    ports: Counter[tuple[str, str]] = Counter()
    ips: set[str] = set()
    found: dict[DirectAddr, None] = {}
    for addr in map(DirectAddr.decode, told):
        if addr is None or addr in found or addr in own or (addr.ip_version, addr.transport) not in kinds:
            continue
        if not scope.may_dial(addr.ip) or addr.port < limits.PUNCH_PORT_MIN or _is_mapped_ip4(addr.ip):
            continue
        if ports[addr.ip, addr.transport] >= limits.PUNCH_PORTS_PER_IP_MAX:
            continue
        if addr.ip not in ips and len(ips) >= limits.PUNCH_IPS_MAX:
            continue
        ips.add(addr.ip)
        ports[addr.ip, addr.transport] += 1
        found[addr] = None
    return tuple(map(str, found))[: limits.PUNCH_ADDRS_MAX]


def outside(addrs: Iterable[str], *, scope: Scope) -> tuple[str, ...]:
    """Return a peer's addresses that a plain dial may reach from outside: each is worth one before any punch."""
    found = (addr for addr in map(DirectAddr.parse, addrs) if addr is not None)
    return tuple(str(addr) for addr in dict.fromkeys(found) if scope.is_reachable_from_outside(addr.ip))[
        : limits.PUNCH_ADDRS_MAX
    ]


def nearby(addrs: Iterable[str], listen: Iterable[str], *, scope: Scope) -> tuple[str, ...]:
    """Return a contact's addresses that lie in a local network of ours: whoever shares our router is dialed there."""
    ours = {_site(addr) for addr in map(DirectAddr.parse, listen) if addr is not None}
    found = (addr for addr in map(DirectAddr.parse, addrs) if addr is not None)
    return tuple(
        str(addr)
        for addr in dict.fromkeys(found)
        if _site(addr) in ours and scope.may_dial_nearby(addr.ip) and not scope.is_reachable_from_outside(addr.ip)
    )[: limits.PUNCH_ADDRS_MAX]


def _site(addr: DirectAddr) -> object:
    ip = ip_address(addr.ip)
    return ip_network((ip, _SITE_BITS[ip.version]), strict=False)


def _is_mapped_ip4(ip: str) -> bool:
    """Whether this is an IPv4 address in IPv6 form: a second way to name one machine."""
    address = ip_address(ip)
    return isinstance(address, IPv6Address) and address.ipv4_mapped is not None
